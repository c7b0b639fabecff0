// Flat access to the Verilated models: each is a list of named ports, and an evaluation.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "Vsluice_mover.h"
#include "Vsluice_pm.h"
#include "Vsluice_rx.h"
#include "Vsluice_trace.h"
#include "Vsluice_tx.h"
#include "verilated.h"

struct Port {
  const char* name;
  void* at;
  size_t bytes;
};

// Base of all models. The context outlives the model.
struct Model {
  VerilatedContext context;
  std::vector<Port> ports;
  virtual ~Model() = default;
  virtual void eval() = 0;
};

template <class Top>
struct Of : Model {
  std::unique_ptr<Top> top;
  explicit Of(unsigned seed) {
    context.randSeed(int(seed));
    context.randReset(2);
    top = std::make_unique<Top>(&context);
  }
  ~Of() override { top->final(); }
  void eval() override { top->eval(); }
};

#define PORT(name) m->ports.push_back({#name, &m->top->name, sizeof(m->top->name)})

static Model* make_pm(unsigned seed) {
  auto* m = new Of<Vsluice_pm>(seed);
  PORT(clk_i); PORT(rst_ni); PORT(req_i); PORT(rsp_o);
  return m;
}

static Model* make_rx(unsigned seed) {
  auto* m = new Of<Vsluice_rx>(seed);
  PORT(clk_i); PORT(rst_ni); PORT(rx_valid_i); PORT(rx_data_i); PORT(rx_keep_i); PORT(rx_last_i);
  PORT(pm_req_o); PORT(pm_rsp_i); PORT(cfg_mac_i); PORT(time_us_i); PORT(steer_index_o); PORT(steer_core_i);
  PORT(desc_room_i); PORT(desc_lag_i); PORT(desc_valid_o); PORT(desc_ready_i); PORT(desc_core_o); PORT(desc_o);
  PORT(free_valid_i); PORT(free_ready_o); PORT(free_buf_i);
  PORT(cnt_frame_o); PORT(cnt_bytes_o); PORT(cnt_drop_o); PORT(cnt_pause_o); PORT(pause_quanta_o);
  return m;
}

static Model* make_tx(unsigned seed) {
  auto* m = new Of<Vsluice_tx>(seed);
  PORT(clk_i); PORT(rst_ni); PORT(job_valid_i); PORT(job_ready_o); PORT(job_core_i); PORT(job_i);
  PORT(done_valid_o); PORT(done_core_o); PORT(pm_req_o); PORT(pm_rsp_i);
  PORT(tx_valid_o); PORT(tx_ready_i); PORT(tx_data_o); PORT(tx_keep_o); PORT(tx_last_o);
  PORT(cnt_frame_o); PORT(cnt_bytes_o); PORT(cnt_bad_o);
  return m;
}

static Model* make_mover(unsigned seed) {
  auto* m = new Of<Vsluice_mover>(seed);
  PORT(clk_i); PORT(rst_ni); PORT(job_valid_i); PORT(job_ready_o); PORT(job_core_i); PORT(job_i);
  PORT(done_valid_o); PORT(done_ready_i); PORT(done_core_o); PORT(done_o);
  PORT(rd_req_o); PORT(rd_rsp_i); PORT(wr_req_o); PORT(wr_rsp_i); PORT(host_req_o); PORT(host_rsp_i);
  PORT(cnt_move_o); PORT(cnt_bytes_o);
  return m;
}

static Model* make_trace(unsigned seed) {
  auto* m = new Of<Vsluice_trace>(seed);
  PORT(clk_i); PORT(rst_ni); PORT(clocks_i); PORT(cfg_i);
  PORT(rx_valid_i); PORT(rx_data_i); PORT(rx_count_i); PORT(rx_last_i); PORT(rx_lost_i);
  PORT(judged_i); PORT(judged_drop_i); PORT(judged_reason_i);
  PORT(tx_valid_i); PORT(tx_data_i); PORT(tx_keep_i); PORT(tx_last_i);
  PORT(host_req_o); PORT(host_rsp_i); PORT(status_o);
  return m;
}

extern "C" {
Model* sluice_bench_new(const char* top, unsigned seed) {
  if (!std::strcmp(top, "sluice_pm")) return make_pm(seed);
  if (!std::strcmp(top, "sluice_rx")) return make_rx(seed);
  if (!std::strcmp(top, "sluice_tx")) return make_tx(seed);
  if (!std::strcmp(top, "sluice_mover")) return make_mover(seed);
  if (!std::strcmp(top, "sluice_trace")) return make_trace(seed);
  return nullptr;
}
void sluice_bench_free(Model* m) { delete m; }
void sluice_bench_eval(Model* m) { m->eval(); }
// The port's storage, or null; 32-bit words for wide ports.
void* sluice_bench_port(Model* m, const char* name, size_t* bytes) {
  for (const Port& p : m->ports) {
    if (!std::strcmp(p.name, name)) {
      *bytes = p.bytes;
      return p.at;
    }
  }
  return nullptr;
}
}
