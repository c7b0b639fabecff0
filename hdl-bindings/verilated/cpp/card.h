// A card independent of how it is cut into models: queues at its outer ports, clock, time and entropy inputs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

/// Mirrors `Beat` in src/beat.rs.
struct Beat {
    uint64_t at;
    uint64_t addr;
    uint8_t data[16];
    uint16_t mask;
    bool write;
    bool bar2;
    bool flag;
};
static_assert(sizeof(Beat) == 40, "src/beat.rs has the same layout");

/// Mirror `Input` and `Output` in src/beat.rs.
enum Input { kRequest, kHostAnswer, kWireIn, kInputs };
enum Output { kAnswer, kHostRequest, kWireOut, kOutputs };

/// Pins of the serial flash as the card drives them; mirrors `Pins` in src/flash.rs.
struct FlashPins {
    bool selected;
    bool clock;
    uint8_t out;
    uint8_t enable;
    bool operator==(const FlashPins& o) const {
        return selected == o.selected && clock == o.clock && out == o.out && enable == o.enable;
    }
};

/// A flash chip: what it puts on IO3:0 after the pins have changed.
using FlashChip = uint8_t (*)(void* chip, uint64_t clock, FlashPins pins);

/// What board and fuses say; mirrors `Fuses` in src/flash.rs.
struct Fuses {
    uint32_t board;
    uint32_t root_key[8];
    uint8_t security_version;
    uint8_t key_generation;
    bool boot;
};

/// Clocks between frames on the wire: preamble, FCS and inter-frame gap are 24 bytes, a beat is 16.
constexpr uint32_t kFrameGap = 2;
/// Clocks of reset before clock 0.
constexpr int kResetClocks = 8;

/// State that the models' ports are driven from and sampled into.
class Card {
public:
    virtual ~Card() = default;
    /// Runs up to (not including) clock `until`; false after a failed assertion.
    virtual bool run(uint64_t until) = 0;
    /// If nothing comes in and time is not set anew, nothing goes out before this clock; 0 if that is not known.
    virtual uint64_t idle_until() const { return 0; }
    /// Starts waveforms.
    virtual bool trace(const char* path) = 0;
    /// Clocks that a core spent at each halfword of its memory since the first call; null if that is not counted.
    virtual std::vector<uint32_t>* profile(uint32_t) { return nullptr; }

    std::array<std::deque<Beat>, kInputs> in;
    std::array<std::deque<Beat>, kOutputs> out;
    uint64_t clock = 0;
    uint64_t fingerprint = 0xcbf29ce484222325;
    Fuses fuses{};
    /// The boot program; zeros behind its end.
    std::vector<uint32_t> rom;
    FlashChip flash = nullptr;
    void* flash_chip = nullptr;

    /// Reads of host memory that have no answer yet.
    uint64_t host_reads = 0;

    void live_time(bool live, uint64_t micros) {
        live_ = live;
        if (live) micros_ = micros;
    }

    /// The oldest beat of an input that may be offered now.
    const Beat* offered(Input which) const {
        const auto& queue = in[which];
        return !queue.empty() && queue.front().at <= clock ? &queue.front() : nullptr;
    }
    bool wire_ready() const { return gap_ == 0; }
    bool live() const { return live_; }
    uint64_t micros() const { return micros_; }
    uint32_t entropy() const { return static_cast<uint32_t>(entropy_ >> 32); }

    /// IO3:0 as the chip drives them; pulled up without one.
    uint8_t flash_in() const { return flash_in_; }
    uint32_t rom_data() const { return rom_data_; }

    void flash_pins(FlashPins pins) {
        if (pins == flash_pins_) return;
        flash_pins_ = pins;
        if (flash) flash_in_ = flash(flash_chip, clock, pins);
    }
    void rom_address(uint32_t at) { rom_data_ = at < rom.size() ? rom[at] : 0; }
    void burn(bool security_version, bool key_generation) {
        if (security_version && fuses.security_version < 255) fuses.security_version++;
        if (key_generation && fuses.key_generation < 255) fuses.key_generation++;
    }

    void emit(Output which, Beat beat) {
        beat.at = clock;
        out[which].push_back(beat);
        if (which == kWireOut && beat.flag) gap_ = kFrameGap + 1;
    }

    /// FNV-1a over words: order matters, so two histories with equal fingerprints are the same.
    void mix(uint64_t word) { fingerprint = (fingerprint ^ word) * 0x100000001b3; }

protected:
    explicit Card(uint64_t seed) : entropy_(seed * 2 + 1) {}

    /// To the next clock.
    void tick() {
        clock++;
        if (gap_ > 0) gap_--;
        // xorshift64: George Marsaglia, "Xorshift RNGs"; a stand-in for a ring-oscillator source.
        entropy_ ^= entropy_ >> 12;
        entropy_ ^= entropy_ << 25;
        entropy_ ^= entropy_ >> 27;
    }

private:
    uint64_t entropy_;
    uint64_t micros_ = 0;
    uint32_t gap_ = 0;
    bool live_ = false;
    FlashPins flash_pins_{false, false, 0xf, 0};
    uint8_t flash_in_ = 0xf;
    uint32_t rom_data_ = 0;
};
