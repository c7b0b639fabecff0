// What is needed to know that a card does nothing but count time, and to count it faster.
#pragma once

#include <cstdint>

/// Clocks without anything happening after which nothing is under way inside the uncore either. The longest silent work
/// there is a frame of 9,216 bytes being parsed and written (576 rows), apart from jobs, which `Work` knows of.
constexpr uint64_t kCalmClocks = 1024;
/// Clocks run before something happens, so that every flop that follows time or entropy has caught up.
constexpr uint64_t kCatchUp = 40;
constexpr uint64_t kLeastSkip = 2 * kCatchUp;
constexpr uint64_t kForever = uint64_t{1} << 40;
/// Clocks per microsecond (`ClocksPerUs` of the RTL).
constexpr uint32_t kClocksPerMicro = 250;

/// A tile's jobs in the engines. Kinds are out_kind_e and in_kind_e of sluice_pkg.sv.
class Work {
public:
    void posted(unsigned kind) {
        if (kind == 0) tx_beats_++;
        if (kind == 1) move_beats_++;
    }
    void sent() { tx_done_++; }
    void delivered(unsigned kind) {
        if (kind == 2) moves_done_++;
    }
    /// A job has 4 beats.
    bool under_way() const { return tx_beats_ != 4 * tx_done_ || move_beats_ != 4 * moves_done_; }

private:
    uint64_t tx_beats_ = 0, tx_done_ = 0, move_beats_ = 0, moves_done_ = 0;
};

/// The card's clocks as `sluice_watch` counts them.
struct Time {
    /// The low half of the counter: what tiles know of it.
    uint32_t clocks;
    uint32_t sub_micro;
    uint64_t micros;

    /// Clocks until the microsecond clock shows `at` (modulo 2^32); 0 if it does, or will as soon as it is run.
    uint64_t until_micros(uint32_t at, bool live, uint64_t set) const {
        const uint64_t now = live && set > micros ? set : micros;
        const int32_t ahead = static_cast<int32_t>(at - static_cast<uint32_t>(now));
        if (ahead <= 0) return 0;
        // A live clock stands still between two settings.
        return live ? kForever : static_cast<uint64_t>(ahead) * kClocksPerMicro - sub_micro;
    }
    /// Clocks until the clock counter shows `at`; one that has passed has been acted upon.
    uint64_t until_clocks(uint32_t at) const {
        const int32_t ahead = static_cast<int32_t>(at - clocks);
        return ahead <= 0 ? kForever : static_cast<uint64_t>(ahead);
    }
};

template <class Uncore>
Time time_of(const Uncore& u) {
    return {static_cast<uint32_t>(u.rootp->sluice_uncore__DOT__u_watch__DOT__clocks_o), u.rootp->sluice_uncore__DOT__u_watch__DOT__pre_q,
            u.rootp->sluice_uncore__DOT__u_watch__DOT__time_us_o};
}

/// What `clocks` edges would do to the time.
template <class Uncore>
void advance_time(Uncore& u, uint64_t clocks, bool live) {
    const uint64_t sub = u.rootp->sluice_uncore__DOT__u_watch__DOT__pre_q + clocks;
    u.rootp->sluice_uncore__DOT__u_watch__DOT__clocks_o += clocks;
    u.rootp->sluice_uncore__DOT__u_watch__DOT__pre_q = sub % kClocksPerMicro;
    if (!live) u.rootp->sluice_uncore__DOT__u_watch__DOT__time_us_o += sub / kClocksPerMicro;
}
