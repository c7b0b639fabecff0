// The card as one model per tile and one for the rest, which exchange their ports once a clock. Every signal between
// them leaves a flip-flop, so what a model sees of another in a clock is what that one put out at the last edge.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <string>

#include "Vsluice_tile.h"
#include "Vsluice_tile___024root.h"
#include "calm.h"
#include "card.h"
#include "ports.h"
#include "trace.h"
#include "verilated.h"

bool run_failed();

/// Memory of a core (`TcmBytes` in `sluice_pkg.sv`).
constexpr size_t kTcmBytes = 512 << 10;

/// A tile, and whether evaluating it would change anything.
class Tile {
public:
    Tile(VerilatedContext& context, int index, int count) : model(std::make_unique<Vsluice_tile>(&context, name(index).c_str())) {
        model->rst_ni = 0;
        model->core_id_i = index;
        model->num_cores_i = count;
    }

    static std::string name(int index) { return "tile" + std::to_string(index); }

    /// Copies the tile's outputs to the uncore.
    template <class Uncore>
    void give(Uncore& u, int i) {
        const Vsluice_tile& t = *model;
        if (t.out_valid_o) work.posted(t.out_kind_o);
        u.bus_valid_i[i] = t.bus_valid_o;
        u.bus_class_i[i] = t.bus_class_o;
        u.bus_we_i[i] = t.bus_we_o;
        u.bus_be_i[i] = t.bus_be_o;
        u.bus_addr_i[i] = t.bus_addr_o;
        u.bus_wdata_i[i] = t.bus_wdata_o;
        u.out_req_i[i] = t.out_req_o;
        u.out_valid_i[i] = t.out_valid_o;
        u.out_kind_i[i] = t.out_kind_o;
        if (t.out_valid_o) u.out_data_i[i] = t.out_data_o;
        u.mail_to_i[i] = t.mail_to_o;
        u.rx_popped_i[i] = t.rx_popped_o;
        u.mail_popped_i[i] = t.mail_popped_o;
        u.wake_on_i[i] = t.wake_on_o;
        u.wake_at_i[i] = t.wake_at_o;
        u.watchdog_on_i[i] = t.watchdog_on_o;
        u.watchdog_at_i[i] = t.watchdog_at_o;
        u.snoop_first_i[i] = t.snoop_first_o;
        u.snoop_end_i[i] = t.snoop_end_o;
        u.peek_value_i[i] = t.peek_value_o;
    }

    /// Copies the uncore's outputs to the tile, unless the tile is quiet and none of them is an event (`sluice_tile`):
    /// then it need not be evaluated.
    template <class Uncore>
    void take(const Uncore& u, int i) {
        Vsluice_tile& t = *model;
        const bool run = u.run_o || (i == 0 && u.boot_o);
        const bool event = run != t.run_i || u.load_valid_o[i] || u.bus_done_o[i] || u.bus_rvalid_o[i] || u.out_gnt_o[i] ||
                           u.mail_refused_o[i] || u.sent_frame_o[i] || u.in_valid_o[i] || u.wake_o[i] || u.snooped_o[i] ||
                           u.host_event_o[i] || u.peek_o[i];
        if (u.sent_frame_o[i]) work.sent();
        if (u.in_valid_o[i]) work.delivered(u.in_kind_o);
        if (!run) work = Work{};
        active = event || stale_ || !t.quiet_o;
        if (!active) return;
        // The clock after an event brings its pulses back to 0.
        stale_ = event;
        t.run_i = run;
        t.boot_i = u.boot_o;
        t.clocks_i = u.clocks_o;
        t.time_us_i = u.time_us_o;
        t.entropy_i = u.entropy_o;
        t.load_valid_i = u.load_valid_o[i];
        t.load_addr_i = u.load_addr_o;
        t.load_data_i = u.load_data_o;
        t.bus_done_i = u.bus_done_o[i];
        t.bus_rvalid_i = u.bus_rvalid_o[i];
        if (t.bus_rvalid_i) t.bus_rdata_i = u.bus_rdata_o;
        t.out_gnt_i = u.out_gnt_o[i];
        t.mail_refused_i = u.mail_refused_o[i];
        t.sent_frame_i = u.sent_frame_o[i];
        t.in_valid_i = u.in_valid_o[i];
        if (t.in_valid_i) {
            t.in_kind_i = u.in_kind_o;
            t.in_data_i = u.in_data_o;
        }
        t.wake_i = u.wake_o[i];
        t.snooped_i = u.snooped_o[i];
        t.host_event_i = u.host_event_o[i];
        t.peek_i = u.peek_o[i];
        t.peek_select_i = u.peek_select_o;
    }

    void count() {
        const uint32_t at = model->rootp->sluice_tile__DOT__u_core__DOT__u_ibex_core__DOT__pc_id / 2;
        if (at < profile.size()) profile[at]++;
    }

    std::unique_ptr<Vsluice_tile> model;
    /// Clocks by address of the instruction; empty unless asked for.
    std::vector<uint32_t> profile;
    Trace trace;
    Work work;
    bool active = true;

private:
    bool stale_ = true;
};

template <class Uncore, int Cores>
class Split final : public Card {
public:
    Split(uint64_t seed, const Fuses& what) : Card(seed) {
        fuses = what;
        context_.traceEverOn(true);
        uncore_ = std::make_unique<Uncore>(&context_, "uncore");
        for (int i = 0; i < Cores; i++) tiles_[i] = std::make_unique<Tile>(context_, i, Cores);
        uncore_->rst_ni = 0;
        drive(*uncore_, *this);
        for (int i = 0; i < kResetClocks; i++) edges([] {});
        uncore_->rst_ni = 1;
        for (auto& tile : tiles_) tile->model->rst_ni = 1;
    }
    ~Split() override {
        trace_.close();
        for (auto& tile : tiles_) tile->trace.close();
    }

    bool run(uint64_t until) override {
        while (clock < until && !run_failed()) {
            if (calm_ >= kCalmClocks) skip(until);
            drive(*uncore_, *this);
            edges([this] { sample(*uncore_, *this); });
            calm_ = busy() ? 0 : calm_ + 1;
            tick();
        }
        return !run_failed();
    }

    uint64_t idle_until() const override {
        const uint64_t quiet = calm_ >= kCalmClocks ? quiet_clocks() : 0;
        return quiet > 0 ? clock + quiet : 0;
    }

    bool trace(const char* path) override {
        bool ok = trace_.open(*uncore_, std::string(path) + ".uncore.fst");
        for (int i = 0; i < Cores; i++) {
            ok = tiles_[i]->trace.open(*tiles_[i]->model, std::string(path) + "." + Tile::name(i) + ".fst") && ok;
        }
        return ok;
    }

    std::vector<uint32_t>* profile(uint32_t core) override {
        if (core >= Cores) return nullptr;
        auto& counts = tiles_[core]->profile;
        if (counts.empty()) counts.resize(kTcmBytes / 2);
        return &counts;
    }

private:
    /// Something happened in the clock just run, or is under way.
    bool busy() const {
        if (outer_activity(*uncore_) || host_reads > 0) return true;
        for (auto& tile : tiles_) {
            if (tile->active || tile->work.under_way()) return true;
        }
        return false;
    }

    /// Clocks from now in which a calm card does nothing but count time; 0 if it has something to do.
    uint64_t quiet_clocks() const {
        uint64_t quiet = kForever;
        for (auto& queue : in) {
            if (!queue.empty()) quiet = std::min(quiet, std::max(queue.front().at, clock) - clock);
        }
        const Time now = time_of(*uncore_);
        for (auto& tile : tiles_) {
            const Vsluice_tile& t = *tile->model;
            if (t.wake_on_o) quiet = std::min(quiet, now.until_micros(t.wake_at_o, live(), micros()));
            if (t.watchdog_on_o) quiet = std::min(quiet, now.until_clocks(t.watchdog_at_o));
        }
        return quiet;
    }

    /// Leaves out clocks that would change nothing but the time. The last ones before anything happens are run, so that
    /// every flop that follows the time has caught up.
    void skip(uint64_t until) {
        const uint64_t quiet = std::min(quiet_clocks(), until - clock);
        if (quiet < kLeastSkip) return;
        const uint64_t clocks = quiet - kCatchUp;
        advance_time(*uncore_, clocks, live());
        const uint64_t still = handshakes(*uncore_);
        for (uint64_t i = 0; i < clocks; i++) {
            mix(still);
            tick();
        }
    }

    /// One clock. The exchange comes first, so that all models see each other as they were at the last edge.
    template <class Middle>
    void edges(Middle middle) {
        for (int i = 0; i < Cores; i++) {
            tiles_[i]->give(*uncore_, i);
            tiles_[i]->take(*uncore_, i);
        }
        uncore_->clk_i = 0;
        uncore_->eval();
        trace_.dump(clock, 0);
        middle();
        uncore_->clk_i = 1;
        uncore_->eval();
        trace_.dump(clock, 1);
        for (auto& tile : tiles_) {
            if (!tile->active) continue;
            Vsluice_tile& t = *tile->model;
            t.clk_i = 0;
            t.eval();
            tile->trace.dump(clock, 0);
            t.clk_i = 1;
            t.eval();
            tile->trace.dump(clock, 1);
            if (!tile->profile.empty()) tile->count();
        }
    }

    VerilatedContext context_;
    std::unique_ptr<Uncore> uncore_;
    std::array<std::unique_ptr<Tile>, Cores> tiles_;
    Trace trace_;
    /// Clocks in a row without anything happening.
    uint64_t calm_ = 0;
};
