// The world around the flattened card in the smoke test: loads smoke.s over BAR0, plays host memory, SSD and Ethernet peer,
// and checks what leaves the card. Exit code 0 and "smoke: ok" when everything was seen.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <map>
#include <vector>

#include "Vsluice_top.h"
#include "verilated.h"

using u8 = uint8_t;
using u32 = uint32_t;
using u64 = uint64_t;

static Vsluice_top* top;
static u64 clocks = 0;
struct Answer { u64 at; u64 addr; };
static std::map<u64, u8> host;           // host memory by byte
static std::deque<Answer> answers;       // reads of host memory under way
static std::vector<std::pair<u64, u32>> words;  // 4-byte writes that left the card, in order
static std::vector<u8> frame;            // what was sent
static bool frame_done = false;

[[noreturn]] static void die(const char* why, u64 got = 0) {
  printf("smoke: FAILED at clock %llu: %s (%llx)\n", (unsigned long long)clocks, why, (unsigned long long)got);
  exit(1);
}

// One clock: inputs set before, outputs looked at before the edge.
static void tick() {
  top->pcie_out_ready_i = (clocks * 7 % 5) != 0;  // stalls now and then
  top->tx_ready_i = (clocks * 3 % 4) != 0;
  top->entropy_i = (u32)(clocks * 2654435761u);
  top->pcie_out_rvalid_i = !answers.empty() && answers.front().at <= clocks;
  if (top->pcie_out_rvalid_i) {
    for (int i = 0; i < 16; i++) ((u8*)top->pcie_out_rdata_i.data())[i] = host[answers.front().addr + i];
    answers.pop_front();
  }
  top->eval();
  if (top->pcie_out_valid_o && top->pcie_out_ready_i) {
    u64 at = top->pcie_out_addr_o;
    if (!top->pcie_out_we_o) {
      answers.push_back({clocks + 40, at});
    } else {
      const u8* data = (const u8*)top->pcie_out_wdata_o.data();
      for (int i = 0; i < 16; i++) if (top->pcie_out_be_o >> i & 1) host[at + i] = data[i];
      for (int i = 0; i < 16; i += 4) {
        u32 word;
        memcpy(&word, data + i, 4);
        if (top->pcie_out_be_o == 0xF << i) words.push_back({at + i, word});
      }
    }
  }
  if (top->tx_valid_o && top->tx_ready_i) {
    for (int i = 0; i < 16; i++) if (top->tx_keep_o >> i & 1) frame.push_back(((u8*)top->tx_data_o.data())[i]);
    if (top->tx_last_o) frame_done = true;
  }
  top->clk_i = 1;
  top->eval();
  top->clk_i = 0;
  clocks++;
}

static void beat(bool we, bool bar2, u32 at, u32 be, const u32* data) {
  top->pcie_in_valid_i = 1;
  top->pcie_in_we_i = we;
  top->pcie_in_bar2_i = bar2;
  top->pcie_in_addr_i = at;
  top->pcie_in_be_i = be;
  for (int i = 0; i < 4; i++) top->pcie_in_wdata_i[i] = data[i];
  for (;;) {
    top->eval();
    bool taken = top->pcie_in_ready_o;
    tick();
    if (taken) break;
  }
  top->pcie_in_valid_i = 0;
}

static void write32(bool bar2, u32 at, u32 value) {
  u32 data[4] = {value, value, value, value};
  beat(true, bar2, at, 0xF << (at & 12), data);
}

static u32 read32(bool bar2, u32 at) {
  u32 none[4] = {};
  beat(false, bar2, at, 0xF << (at & 12), none);
  for (int i = 0; i < 200; i++) {
    if (top->pcie_in_rvalid_o) return top->pcie_in_rdata_o[at >> 2 & 3];
    tick();
  }
  die("no answer to a read", at);
}

static void until(const char* what, bool (*seen)()) {
  for (int i = 0; i < 20000; i++) {
    if (seen()) return;
    if (i % 500 == 499) {
      u32 status = read32(false, 0x24);
      if (status > 1) {
        u32 t[3];
        for (int k = 0; k < 3; k++) t[k] = read32(true, 0x6FFF00 + 4 * k);
        printf("smoke: step %d (-1: exception), t0 %x t1 %x t2 %x\n", (int)status - 100, t[0], t[1], t[2]);
        die("the program reports failure", status);
      }
    }
    tick();
  }
  die(what);
}

static void send_arp() {
  u8 f[64] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1};
  for (int i = 0; i < 60; i += 16) {
    top->rx_valid_i = 1;
    memcpy(top->rx_data_i.data(), f + i, 16);
    top->rx_last_i = i == 48;
    top->rx_keep_i = i == 48 ? 0x0FFF : 0xFFFF;
    tick();
  }
  top->rx_valid_i = 0;
}

int main(int argc, char** argv) {
  VerilatedContext ctx;
  ctx.commandArgs(argc, argv);
  top = new Vsluice_top{&ctx};
  top->clk_i = top->time_live_i = top->rx_valid_i = top->pcie_in_valid_i = top->pcie_out_rerr_i = 0;
  top->rst_ni = 1;  // so that the reset has an edge
  top->eval();
  top->rst_ni = 0;
  for (int i = 0; i < 5; i++) tick();
  top->rst_ni = 1;
  for (int i = 0; i < 5; i++) tick();
  if (read32(false, 0) != 0x534C5543) die("magic", read32(false, 0));

  std::ifstream image(argv[1], std::ios::binary);
  write32(false, 0x28, 0);
  for (u32 word; image.read((char*)&word, 4);) write32(false, 0x2C, word);
  for (int i = 0; i < 512; i++) host[0x100001003ull + i] = (u8)(i * 7 + 3);
  u32 entry[] = {0xFEE00040, 0x1, 0x4321, 0};
  beat(true, false, 0x8030, 0xFFFF, entry);  // MSI-X vector 3, all four words in one beat
  u32 entry1[] = {0xFEE00010, 0x0, 0x1111, 0};
  beat(true, false, 0x8010, 0xFFFF, entry1);
  if (read32(false, 0x8038) != 0x4321) die("MSI-X table");
  if (read32(false, 0x10) != 0x40200102) die("numbers", read32(false, 0x10));
  write32(false, 0x20, 1);

  for (int i = 0; i < 300; i++) tick();
  u32 row[4] = {0x5A5A, 0x5A5A, 0, 0};
  beat(true, true, 0x610000, 0xFFFF, row);
  until("no doorbell", [] { return !words.empty(); });
  if (words[0] != std::pair<u64, u32>{0x12BEEF0014ull, 0x77}) die("doorbell", words[0].first);
  if (read32(true, 0x600020) != 0x77) die("doorbell overtook a store");

  until("no request for a frame", [] { return clocks % 50 == 0 && read32(true, 0x600020) == 1; });
  for (int i = 0; i < 100; i++) tick();
  send_arp();
  until("no frame", [] { return frame_done; });
  if (frame.size() != 64 || frame[0] != 1 || frame[3] != 4) die("frame", frame.size());

  until("no request for a write", [] { return clocks % 50 == 0 && read32(true, 0x600020) == 2; });
  for (int i = 0; i < 100; i++) tick();
  u32 good[4] = {0, 0, 0x600D, 0};
  beat(true, true, 0x620000, 0xFFFF, good);

  words.clear();
  until("no interrupt", [] { return !words.empty() && words.back() == std::pair<u64, u32>{0x1FEE00040ull, 0x4321}; });
  for (int i = 0; i < 300; i++) {
    if (host[0x100002001ull + i] != (u8)(i * 7 + 3)) die("host memory", i);
  }
  until("no watchdog interrupt", [] { return words.back() == std::pair<u64, u32>{0xFEE00010ull, 0x1111}; });
  if (read32(false, 0x30) != 1) die("watchdog bit");
  write32(false, 0x30, 1);
  if (read32(false, 0x30) != 0) die("watchdog bit stays");
  until("program does not finish", [] { return clocks % 100 == 0 && read32(false, 0x24) == 1; });

  for (int i = 0; i < 100; i++) tick();
  if (!(top->asleep_o & 2)) die("core 1 does not sleep");
  write32(false, 0x80, 5 << 8 | 0);
  if (read32(false, 0x84) < 1000) die("phase clocks in the core window");
  if (read32(false, 0x100) != 1 || read32(false, 0x104) != 1 || read32(false, 0x108) != 3) die("counters");
  if (read32(false, 0x110) != 60 || read32(false, 0x114) != 0) die("byte counter", read32(false, 0x110));

  // Stopping and starting again finds a clean card: the program runs as before up to its first request.
  write32(false, 0x20, 0);
  for (int i = 0; i < 20; i++) tick();
  if (read32(false, 0x24) != 0) die("status survives a stop");
  write32(true, 0x600020, 0);
  words.clear();
  write32(false, 0x20, 1);
  until("no doorbell after a restart", [] { return !words.empty(); });
  write32(false, 0x20, 2);
  for (int i = 0; i < 20; i++) tick();
  if (read32(false, 0x20) != 0 || read32(false, 0x100) != 0) die("soft reset");
  printf("smoke: ok after %llu clocks\n", (unsigned long long)clocks);
  top->final();
  delete top;
  return 0;
}
