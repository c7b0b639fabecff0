// The card's outer ports, which the uncore and the whole card have under the same names.
#pragma once

#include <cstring>

#include "card.h"

/// Inputs of the clock that is about to run.
template <class Model>
void drive(Model& m, const Card& card) {
    m.time_live_i = card.live();
    m.time_us_i = card.micros();
    m.entropy_i = card.entropy();
    m.tx_ready_i = card.wire_ready();
    m.pcie_out_ready_i = 1;
    m.flash_io_i = card.flash_in();
    m.rom_data_i = card.rom_data();
    m.strap_boot_i = card.fuses.boot;
    m.board_i = card.fuses.board;
    m.fuse_security_i = card.fuses.security_version;
    m.fuse_keys_i = card.fuses.key_generation;
    std::memcpy(&m.fuse_root_key_i[0], card.fuses.root_key, 32);

    const Beat* frame = card.offered(kWireIn);
    m.rx_valid_i = frame != nullptr;
    if (frame) {
        std::memcpy(&m.rx_data_i[0], frame->data, 16);
        m.rx_keep_i = frame->mask;
        m.rx_last_i = frame->flag;
    }
    const Beat* request = card.offered(kRequest);
    m.pcie_in_valid_i = request != nullptr;
    if (request) {
        m.pcie_in_we_i = request->write;
        m.pcie_in_bar2_i = request->bar2;
        m.pcie_in_addr_i = static_cast<uint32_t>(request->addr) & 0xffffff;
        m.pcie_in_be_i = request->mask;
        std::memcpy(&m.pcie_in_wdata_i[0], request->data, 16);
    }
    const Beat* answer = card.offered(kHostAnswer);
    m.pcie_out_rvalid_i = answer != nullptr;
    if (answer) {
        m.pcie_out_rerr_i = answer->flag;
        std::memcpy(&m.pcie_out_rdata_i[0], answer->data, 16);
    }
}

template <class Wide>
Beat beat_of(const Wide& data, uint16_t mask) {
    Beat beat{};
    std::memcpy(beat.data, &data[0], 16);
    beat.mask = mask;
    return beat;
}

inline void mix_data(Card& card, const Beat& beat) {
    uint64_t words[2];
    std::memcpy(words, beat.data, 16);
    card.mix(words[0]);
    card.mix(words[1]);
    card.mix(beat.addr ^ static_cast<uint64_t>(beat.mask) << 48);
}

/// The handshakes of a clock, for the fingerprint.
template <class Model>
uint64_t handshakes(const Model& m) {
    return m.tx_valid_o | m.tx_last_o << 1 | m.pcie_in_ready_o << 2 | m.pcie_in_rvalid_o << 3 | m.pcie_out_valid_o << 4 |
           m.pcie_out_we_o << 5;
}

/// Something passes an outer port in this clock, or wants to.
template <class Model>
bool outer_activity(const Model& m) {
    return m.rx_valid_i || m.pcie_in_valid_i || m.pcie_out_rvalid_i || m.tx_valid_o || m.pcie_in_rvalid_o || m.pcie_out_valid_o ||
           !m.flash_cs_no;
}

/// What is transferred at the coming edge; the model has been evaluated with its inputs and the clock low.
template <class Model>
void sample(const Model& m, Card& card) {
    card.mix(handshakes(m));
    card.flash_pins({!m.flash_cs_no, static_cast<bool>(m.flash_sck_o), m.flash_io_o, m.flash_io_oe_o});
    card.rom_address(m.rom_addr_o);
    card.burn(m.burn_security_o, m.burn_keys_o);
    if (m.rx_valid_i) card.in[kWireIn].pop_front();
    if (m.pcie_out_rvalid_i) {
        card.in[kHostAnswer].pop_front();
        card.host_reads--;
    }
    if (m.pcie_in_valid_i && m.pcie_in_ready_o) card.in[kRequest].pop_front();
    if (m.pcie_in_rvalid_o) {
        const Beat beat = beat_of(m.pcie_in_rdata_o, 0xffff);
        mix_data(card, beat);
        card.emit(kAnswer, beat);
    }
    if (m.pcie_out_valid_o) {
        Beat beat = beat_of(m.pcie_out_wdata_o, m.pcie_out_be_o);
        beat.addr = m.pcie_out_addr_o;
        beat.write = m.pcie_out_we_o;
        if (beat.write) {
            mix_data(card, beat);
        } else {
            card.host_reads++;
        }
        card.emit(kHostRequest, beat);
    }
    if (m.tx_valid_o && m.tx_ready_i) {
        Beat beat = beat_of(m.tx_data_o, m.tx_keep_o);
        beat.flag = m.tx_last_o;
        mix_data(card, beat);
        card.emit(kWireOut, beat);
    }
}
