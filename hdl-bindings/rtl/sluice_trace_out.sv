`include "sluice_assert.svh"

/// The trace's way to host memory: takes the frames of both lanes in order of time, writes a record of each into the ring, and
/// behind the records the status row that says how far they go. What finds no room in the ring is skipped and counted.
///
/// Writes are posted, so nobody says when they fail. Therefore rows are read: the ring's ends and the status row before anything
/// is written, and the status row behind every `Probe` records and at the end. A read that fails ends the trace.
module sluice_trace_out
  import sluice_pkg::*;
#(
  parameter int unsigned Probe   = 64, // records between two probes
  parameter int unsigned Publish = 16, // at most so many records until the status row is written
  parameter int unsigned Settle  = 32  // clocks after which rx has judged a frame, so that none before it is still to come
) (
  input  logic          clk_i,
  input  logic          rst_ni,
  input  logic [63:0]   clocks_i,
  input  trace_cfg_t    cfg_i,         // but for enable and tail as it was at the start
  input  logic          start_i,       // pulse; only while not active
  input  logic [1:0]    lost_i,        // frames that the lanes have just lost
  // lanes: 0 received, 1 sent
  input  logic          frame_valid_i[2],
  input  trace_frame_t  frame_i[2],
  output logic          frame_pop_o[2],
  output logic          read_o[2],
  input  logic [127:0]  read_data_i[2],
  output logic          skip_o[2],
  output logic [9:0]    skip_words_o,
  // verdict on the oldest received frame
  input  logic          verdict_valid_i,
  input  logic          verdict_drop_i,
  input  rx_drop_e      verdict_reason_i,
  output host_req_t     host_req_o,
  input  host_rsp_t     host_rsp_i,
  output trace_status_t status_o
);
  localparam int unsigned Skid = 4;

  typedef enum logic [2:0] {
    Off,
    First,   // probes before the start
    Last,
    Row,
    Choose,  // looks for the next frame; or probes, or writes the status row
    Begin,   // is there room; the record's first row
    Words,   // the rest of it
    Finish   // waits for the last probe
  } state_e;

  state_e        state_d, state_q;
  logic          bus_error_q, bad_order_q, failed, probing_q, probe_ok, probe_bad, stopping, ending_q, unproven_q, skip_loses;
  logic [31:0]   head_q, lost_q, shown_lost_q, records_q;
  logic [6:0]    since_probe_q;
  logic [4:0]    since_row_q;
  logic          row_due, row_now, probe_due;

  // ---- which frame is next ----
  logic         lane_d, lane_q, choice;   // choice: there is one
  logic         settled[2];
  trace_frame_t frame_q;
  logic         drop_q;
  rx_drop_e     reason_q;
  logic [9:0]   words_q, left_q;          // the frame's, and those not yet read

  for (genvar i = 0; i < 2; i++) begin : gen_settled
    assign settled[i] = frame_valid_i[i] && clocks_i - frame_i[i].at >= 64'(Settle);
  end
  always_comb begin
    lane_d = frame_valid_i[1] && (!frame_valid_i[0] || frame_i[1].at < frame_i[0].at);
    choice = lane_d ? settled[1] : settled[0] && verdict_valid_i;
  end

  // ---- rows to write, or the one to read ----
  typedef struct packed {
    logic         we;
    logic [59:0]  row;
    logic [127:0] data;
  } row_t;
  logic         push, from_lane, pushed_q, pushed_lane_q, from_lane_q, emit_ready, out_valid, fits;
  row_t         row, row_q, row_in, out;
  logic [2:0]   skid_count;
  logic [59:0]  base, ring_row;
  logic [24:0]  size;                     // of the ring, bytes
  logic [31:0]  used, need;
  logic         ring_room;
  trace_record_t record;

  assign base      = {cfg_i.page, 8'h0};
  assign size      = 25'h1000 << cfg_i.order;
  assign ring_row  = base + 60'(head_q[23:4] & 20'((size >> 4) - 25'd1));
  assign used      = head_q - cfg_i.tail;
  assign need      = 32'd16 + {18'h0, words_q, 4'h0};
  // A tail that makes no sense leaves no room.
  assign ring_room = used <= 32'(size) && need <= 32'(size) - used;
  assign record    = '{at: frame_q.at, lost: lost_q[15:0], port: 8'd0, reason: reason_q, zero1: '0, drop: drop_q, sent: lane_q,
                       zero0b: '0, len: frame_q.len, zero0a: '0, kept: frame_q.kept};

  assign emit_ready = 3'(skid_count) + 3'(pushed_q) < 3'(Skid);
  assign failed     = bus_error_q;
  assign stopping   = !cfg_i.enable || ending_q || failed;
  assign probe_ok   = probing_q && host_rsp_i.rvalid && !host_rsp_i.rerr;
  assign probe_bad  = probing_q && host_rsp_i.rvalid && host_rsp_i.rerr;
  assign probe_due  = since_probe_q >= 7'(Probe) && !probing_q;
  // Losses are shown when there is something else to say, or nothing at all.
  assign row_due    = since_row_q != '0 || (!choice && shown_lost_q != lost_q);
  assign row_now    = row_due && (!choice || since_row_q >= 5'(Publish));

  assign skip_loses = state_q == Begin && (failed || !ring_room);

  always_comb begin
    state_d      = state_q;
    push         = 1'b0;
    from_lane    = 1'b0;
    row          = '{we: 1'b1, row: ring_row, data: record};
    frame_pop_o  = '{default: 1'b0};
    read_o       = '{default: 1'b0};
    skip_o       = '{default: 1'b0};
    skip_words_o = words_q;
    unique case (state_q)
      Off: if (start_i && cfg_i.order <= 4'(TraceOrderMax)) state_d = First;
      First, Last, Row: begin
        push = !probing_q && emit_ready;
        row  = '{we: 1'b0, row: base, data: '0};
        if (state_q == Last) row.row = base + 60'(size >> 4) - 60'd1;
        if (state_q == Row)  row.row = base + 60'(size >> 4);
        if (probe_ok)  state_d = state_q == First ? Last : state_q == Last ? Row : Choose;
        if (probe_bad) state_d = Choose;
      end
      Choose: begin
        if (!failed && (row_now || probe_due)) begin
          push = emit_ready;
          row  = '{we: row_now, row: base + 60'(size >> 4), data: {32'd0, records_q, lost_q, head_q}};
        end else if (choice) begin
          state_d = Begin;
        end else if (stopping && !frame_valid_i[0] && !frame_valid_i[1]) begin
          state_d = Finish;
        end
      end
      Begin: begin
        if (skip_loses) begin
          skip_o[lane_q]      = words_q != '0;
          frame_pop_o[lane_q] = 1'b1;
          state_d             = Choose;
        end else begin
          push = emit_ready;
          if (emit_ready) begin
            state_d             = words_q == '0 ? Choose : Words;
            frame_pop_o[lane_q] = words_q == '0;
          end
        end
      end
      Words: begin
        push           = emit_ready;
        from_lane      = 1'b1;
        read_o[lane_q] = emit_ready;
        if (emit_ready && left_q == 10'd1) begin
          state_d             = Choose;
          frame_pop_o[lane_q] = 1'b1;
        end
      end
      Finish: begin
        // One more probe tells whether everything before it has arrived.
        push = !failed && !probing_q && emit_ready && unproven_q;
        row  = '{we: 1'b0, row: base + 60'(size >> 4), data: '0};
        if (!probing_q && (failed || !unproven_q) && !pushed_q && !out_valid) state_d = Off;
      end
      default: state_d = Off;
    endcase
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q       <= Off;
      bus_error_q   <= 1'b0;
      bad_order_q   <= 1'b0;
      probing_q     <= 1'b0;
      ending_q      <= 1'b0;
      unproven_q    <= 1'b0;
      pushed_q      <= 1'b0;
      head_q        <= '0;
      lost_q        <= '0;
      shown_lost_q  <= '0;
      records_q     <= '0;
      since_probe_q <= '0;
      since_row_q   <= '0;
    end else begin
      state_q  <= state_d;
      pushed_q <= push;
      // Enabled again before it has ended: ends first.
      ending_q <= state_q != Off && (ending_q || !cfg_i.enable);
      if (push) unproven_q <= row.we;
      if (push && !row.we) begin
        probing_q     <= 1'b1;
        since_probe_q <= '0;
      end else if (probe_ok || probe_bad) begin
        probing_q <= 1'b0;
      end
      if (probe_bad) bus_error_q <= 1'b1;
      lost_q <= lost_q + 32'(lost_i) + 32'(skip_loses);
      if (push && row.we && (state_q == Begin || state_q == Words)) head_q <= head_q + 32'd16;
      if (frame_pop_o[lane_q] && !skip_loses) begin
        records_q     <= records_q + 1'b1;
        since_row_q   <= since_row_q + 1'b1;
        if (since_probe_q != '1) since_probe_q <= since_probe_q + 1'b1;
      end
      if (state_q == Choose && push && row.we) begin
        since_row_q  <= '0;
        shown_lost_q <= lost_q;
      end
      if (state_q == Off && start_i) begin
        bus_error_q   <= 1'b0;
        bad_order_q   <= cfg_i.order > 4'(TraceOrderMax);
        head_q        <= '0;
        lost_q        <= '0;
        shown_lost_q  <= '0;
        records_q     <= '0;
        since_probe_q <= '0;
        since_row_q   <= '0;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (state_q == Choose) begin
      lane_q   <= lane_d;
      frame_q  <= frame_i[lane_d];
      drop_q   <= !lane_d && verdict_drop_i;
      reason_q <= !lane_d && verdict_drop_i ? verdict_reason_i : rx_drop_e'('0);
      words_q  <= 10'((frame_i[lane_d].kept + 14'd15) >> 4);
    end
    if (state_q == Begin)                     left_q <= words_q;
    else if (state_q == Words && emit_ready)  left_q <= left_q - 1'b1;
    row_q         <= row;
    from_lane_q   <= from_lane;
    pushed_lane_q <= lane_q;
  end

  always_comb begin
    row_in = row_q;
    if (from_lane_q) row_in.data = read_data_i[pushed_lane_q];
  end

  sluice_stream_fifo #(.Width($bits(row_t)), .Depth(Skid)) u_skid (
    .clk_i, .rst_ni, .in_valid_i(pushed_q), .in_ready_o(fits), .in_data_i(row_in),
    .out_valid_o(out_valid), .out_ready_i(host_rsp_i.ready), .out_data_o(out), .count_o(skid_count)
  );
  assign host_req_o = '{valid: out_valid, we: out.we, addr: {out.row, 4'h0}, be: 16'hFFFF, wdata: out.data};

  assign status_o = '{
    active: state_q != Off, tracing: !stopping && (state_q == Choose || state_q == Begin || state_q == Words),
    bus_error: bus_error_q, bad_order: bad_order_q, head: head_q, lost: lost_q
  };

  logic unused;
  assign unused = ^{host_rsp_i.rdata, cfg_i};

  `SLUICE_ASSERT(SkidFits, pushed_q |-> fits)
  `SLUICE_ASSERT(AnswersAProbe, host_rsp_i.rvalid |-> probing_q)
  `SLUICE_ASSERT(StartsWhenOff, start_i |-> state_q == Off)
  `SLUICE_ASSERT_STATIC(ProbesOften, Probe < 128 && Publish < 32)
endmodule : sluice_trace_out
