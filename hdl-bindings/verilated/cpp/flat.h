// The whole card as one model.
#pragma once

#include <memory>
#include <string>

#include "card.h"
#include "ports.h"
#include "trace.h"
#include "verilated.h"

bool run_failed();

template <class Top>
class Flat final : public Card {
public:
    Flat(uint64_t seed, const Fuses& what) : Card(seed) {
        fuses = what;
        context_.traceEverOn(true);
        top_ = std::make_unique<Top>(&context_, "top");
        top_->rst_ni = 0;
        drive(*top_, *this);
        for (int i = 0; i < kResetClocks; i++) edges([] {});
        top_->rst_ni = 1;
    }
    ~Flat() override { trace_.close(); }

    bool run(uint64_t until) override {
        while (clock < until && !run_failed()) {
            drive(*top_, *this);
            edges([this] { sample(*top_, *this); });
            tick();
        }
        return !run_failed();
    }

    bool trace(const char* path) override { return trace_.open(*top_, std::string(path) + ".top.fst"); }

private:
    template <class Middle>
    void edges(Middle middle) {
        top_->clk_i = 0;
        top_->eval();
        trace_.dump(clock, 0);
        middle();
        top_->clk_i = 1;
        top_->eval();
        trace_.dump(clock, 1);
    }

    VerilatedContext context_;
    std::unique_ptr<Top> top_;
    Trace trace_;
};
