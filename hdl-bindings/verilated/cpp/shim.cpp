// C interface of the Verilated cards; src/ffi.rs declares the same.

#include "card.h"

#include <algorithm>
#include <memory>
#include <string>

#include "flat.h"
#include "models.h"
#include "split.h"
#include "verilated.h"

static thread_local std::string failure;
static thread_local bool failed = false;

// Called by the models for $error, $fatal, $stop and failed assertions, in place of ending the process.
static void stop(const char* file, int line, const char* what) {
    if (failed) return;  // the first one is the cause
    failed = true;
    failure = std::string(what) + " (" + file + ":" + std::to_string(line) + ")";
}
void vl_stop(const char* file, int line, const char* hier) VL_MT_UNSAFE { stop(file, line, hier); }
void vl_fatal(const char* file, int line, const char*, const char* msg) VL_MT_UNSAFE { stop(file, line, msg); }
double sc_time_stamp() { return 0; }

bool run_failed() { return failed; }

extern "C" {

Card* sluice_card_new(uint32_t data_cores, bool flat, uint64_t seed, const Fuses* fuses) {
#define NEW_SPLIT(n) \
    if (!flat && data_cores == n) return new Split<Vsluice_uncore_##n, n + 1>(seed, *fuses);
    SLUICE_FOR_EACH_DATA_CORES(NEW_SPLIT)
#ifdef SLUICE_FLAT
#define NEW_FLAT(n) \
    if (flat && data_cores == n) return new Flat<Vsluice_top_##n>(seed, *fuses);
    SLUICE_FOR_EACH_DATA_CORES(NEW_FLAT)
#endif
    return nullptr;
}

void sluice_card_free(Card* card) { delete card; }

void sluice_card_push(Card* card, uint32_t input, const Beat* beats, size_t count) {
    auto& queue = card->in[input];
    queue.insert(queue.end(), beats, beats + count);
}

size_t sluice_card_take(Card* card, uint32_t output, Beat* beats, size_t room) {
    auto& queue = card->out[output];
    const size_t count = std::min(room, queue.size());
    std::copy_n(queue.begin(), count, beats);
    queue.erase(queue.begin(), queue.begin() + count);
    return count;
}

bool sluice_card_run(Card* card, uint64_t until) {
    failed = false;
    return card->run(until);
}

uint64_t sluice_card_clock(const Card* card) { return card->clock; }
size_t sluice_card_queued(const Card* card, uint32_t input) { return card->in[input].size(); }
void sluice_card_live_time(Card* card, bool live, uint64_t micros) { card->live_time(live, micros); }
bool sluice_card_trace(Card* card, const char* path) { return card->trace(path); }
uint64_t sluice_card_fingerprint(const Card* card) { return card->fingerprint; }
uint64_t sluice_card_idle_until(const Card* card) { return card->idle_until(); }
size_t sluice_card_profile(Card* card, uint32_t core, uint32_t* counts, size_t room) {
    auto* profile = card->profile(core);
    if (!profile) return 0;
    const size_t count = std::min(room, profile->size());
    std::copy_n(profile->begin(), count, counts);
    std::fill(profile->begin(), profile->end(), 0);
    return count;
}
void sluice_card_flash(Card* card, FlashChip flash, void* chip) {
    card->flash = flash;
    card->flash_chip = chip;
}
void sluice_card_fuses(const Card* card, Fuses* fuses) { *fuses = card->fuses; }
void sluice_card_rom(Card* card, const uint32_t* words, size_t count) { card->rom.assign(words, words + count); }
const char* sluice_failure() { return failure.c_str(); }

}  // extern "C"
