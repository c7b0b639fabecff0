/// Trace of the Ethernet port: every frame received and sent, or the first bytes of it, into a ring in host memory. It listens
/// to the engines and never holds them up; what it cannot keep it counts. Formats and meaning: docs/card.md, section 8.
module sluice_trace
  import sluice_pkg::*;
(
  input  logic          clk_i,
  input  logic          rst_ni,
  input  logic [63:0]   clocks_i,
  input  trace_cfg_t    cfg_i,
  // received: from rx, a clock after the wire
  input  logic          rx_valid_i,
  input  logic [127:0]  rx_data_i,
  input  logic [4:0]    rx_count_i,
  input  logic          rx_last_i,
  input  logic          rx_lost_i,
  input  logic          judged_i,
  input  logic          judged_drop_i,
  input  rx_drop_e      judged_reason_i,
  // sent: at the wire, beats that are taken
  input  logic          tx_valid_i,
  input  logic [127:0]  tx_data_i,
  input  logic [15:0]   tx_keep_i,
  input  logic          tx_last_i,
  output host_req_t     host_req_o,
  input  host_rsp_t     host_rsp_i,
  output trace_status_t status_o
);
  // ---- what is traced: as it was at the start ----
  trace_cfg_t cfg_q, cfg;
  logic       was_on_q, start;

  assign start = cfg_i.enable && !was_on_q && !status_o.active;
  always_comb begin
    cfg        = start ? cfg_i : cfg_q;
    cfg.enable = cfg_i.enable;
    cfg.tail   = cfg_i.tail;
    if (cfg.snap > 14'(RxFrameMax)) cfg.snap = 14'(RxFrameMax);
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      was_on_q <= 1'b1;   // after a reset enable has to be 0 first
    end else begin
      // One that is asked for while the last has not ended begins when it has.
      was_on_q <= cfg_i.enable && (was_on_q || start);
    end
  end
  always_ff @(posedge clk_i) cfg_q <= cfg;

  // ---- beats of both directions, a clock after they passed ----
  logic [63:0]  clocks_q;
  logic         valid[2], last[2], tx_valid_q, tx_last_q;
  logic [127:0] data[2], tx_data_q;
  logic [4:0]   count[2], tx_count_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) tx_valid_q <= 1'b0;
    else         tx_valid_q <= tx_valid_i;
  end
  always_ff @(posedge clk_i) begin
    clocks_q   <= clocks_i;
    tx_last_q  <= tx_last_i;
    tx_count_q <= 5'($countones(tx_keep_i));
    for (int i = 0; i < 16; i++) tx_data_q[8*i+:8] <= tx_keep_i[i] ? tx_data_i[8*i+:8] : 8'h0;
  end
  assign valid = '{rx_valid_i, tx_valid_q};
  assign data  = '{rx_data_i, tx_data_q};
  assign count = '{rx_count_i, tx_count_q};
  assign last  = '{rx_last_i, tx_last_q};

  // ---- lanes ----
  logic         kept[2], lost[2], frame_valid[2], frame_pop[2], read[2], skip[2];
  trace_frame_t frame[2];
  logic [127:0] read_data[2];
  logic [9:0]   skip_words;
  logic         verdict_valid, verdict_drop;
  rx_drop_e     verdict_reason;

  for (genvar i = 0; i < 2; i++) begin : gen_lane
    sluice_trace_lane u_lane (
      .clk_i, .rst_ni, .on_i(status_o.tracing && (i == 0 ? cfg.receive : cfg.send)), .snap_i(cfg.snap), .tcp_port_i(cfg.tcp_port),
      .udp_port_i(cfg.udp_port), .clocks_i(clocks_q), .beat_valid_i(valid[i]), .beat_data_i(data[i]), .beat_count_i(count[i]),
      .beat_last_i(last[i]), .kept_o(kept[i]), .lost_o(lost[i]), .frame_valid_o(frame_valid[i]), .frame_o(frame[i]),
      .frame_pop_i(frame_pop[i]), .read_i(read[i]), .read_data_o(read_data[i]), .skip_i(skip[i]), .skip_words_i(skip_words)
    );
  end

  sluice_trace_verdicts u_verdicts (
    .clk_i, .rst_ni, .ended_i(rx_valid_i && rx_last_i), .kept_i(kept[0]), .overrun_i(rx_lost_i), .judged_i,
    .drop_i(judged_drop_i), .reason_i(judged_reason_i), .valid_o(verdict_valid), .drop_o(verdict_drop),
    .reason_o(verdict_reason), .pop_i(frame_pop[0])
  );

  sluice_trace_out u_out (
    .clk_i, .rst_ni, .clocks_i, .cfg_i(cfg), .start_i(start), .lost_i(2'(lost[0]) + 2'(lost[1])),
    .frame_valid_i(frame_valid), .frame_i(frame), .frame_pop_o(frame_pop), .read_o(read), .read_data_i(read_data),
    .skip_o(skip), .skip_words_o(skip_words), .verdict_valid_i(verdict_valid), .verdict_drop_i(verdict_drop),
    .verdict_reason_i(verdict_reason), .host_req_o, .host_rsp_i, .status_o
  );

  logic unused;
  assign unused = kept[1];
endmodule : sluice_trace
