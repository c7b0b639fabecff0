// Waveforms of one model, if the build has them.
#pragma once

#include <memory>
#include <string>

#include "verilated.h"
#if VM_TRACE
#include "verilated_fst_c.h"

class Trace {
public:
    template <class Model>
    bool open(Model& model, const std::string& path) {
        file_ = std::make_unique<VerilatedFstC>();
        model.trace(file_.get(), 99);
        file_->open(path.c_str());
        if (!file_->isOpen()) file_.reset();
        return file_ != nullptr;
    }
    /// `half`: 0 before the rising edge of `clock`, 1 after it. One clock is 4 ns.
    void dump(uint64_t clock, int half) {
        if (file_) file_->dump(clock * 4 + half * 2);
    }
    void close() {
        if (file_) file_->close();
    }

private:
    std::unique_ptr<VerilatedFstC> file_;
};

#else

class Trace {
public:
    template <class Model>
    bool open(Model&, const std::string&) { return false; }
    void dump(uint64_t, int) {}
    void close() {}
};

#endif
