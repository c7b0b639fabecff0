`include "sluice_assert.svh"

/// The core registers (core.rdl): decoder, small registers, and the core's queues. Answers in the clock after a request.
module sluice_core_regs
  import sluice_pkg::*;
  import sluice_core_offsets_pkg::*;
(
  input  logic         clk_i,
  input  logic         rst_ni,
  // identity and environment
  input  logic [CoreW-1:0] core_id_i,
  input  logic [CoreW-1:0] num_cores_i,
  input  logic [31:0]  clocks_i,         // free-running
  input  logic [63:0]  time_us_i,
  input  logic [31:0]  entropy_i,
  // core
  input  logic         req_i,
  input  logic         we_i,
  input  logic [9:2]   addr_i,           // words
  input  logic [31:0]  wdata_i,
  output logic [31:0]  rdata_o,          // in the clock after a load
  output logic         irq_o,            // level
  input  logic         asleep_i,
  input  logic         fault_i,          // sticky
  input  logic         payload_i,        // the core touches a data page
  input  logic         frame_load_i,     // the core loads from a frame buffer
  input  logic [7:0]   sent_i,           // see sluice_job_queue
  input  logic [7:0]   reached_i,
  // job bus
  output logic [2:0]   out_req_o,
  input  logic [2:0]   out_gnt_i,
  output logic         out_valid_o,
  output logic [1:0]   out_kind_o,
  output logic [127:0] out_data_o,
  output logic [CoreW-1:0] mail_to_o,
  input  logic         mail_refused_i,   // pulse instead of a grant
  input  logic         sent_frame_i,     // pulse: tx job done
  // deliveries
  input  logic         in_valid_i,
  input  logic [1:0]   in_kind_i,
  input  logic [127:0] in_data_i,
  output logic         rx_popped_o,      // pulse: a place for a descriptor
  output logic         mail_popped_o,    // pulse: a place for a message
  // timer, watchdog, snoop, core window: the uncore watches on the tile's behalf
  output logic         wake_on_o,
  output logic [31:0]  wake_at_o,
  input  logic         wake_i,           // pulse: it is time
  output logic         watchdog_on_o,
  output logic [31:0]  watchdog_at_o,    // clocks_i at which it expires
  output logic [11:0]  snoop_first_o,
  output logic [11:0]  snoop_end_o,
  input  logic         snooped_i,        // pulse
  input  logic         host_event_i,     // pulse
  input  logic         peek_i,           // pulse: capture counter `peek_select_i`
  input  logic [3:0]   peek_select_i,
  output logic [31:0]  peek_value_o
);
  typedef enum logic [1:0] {FromRegs, FromRx, FromMove, FromMail} from_e;

  logic [15:0] at;                       // byte offset
  logic        write, read;
  assign at    = {6'd0, addr_i, 2'b00};
  assign write = req_i && we_i;
  assign read  = req_i && !we_i;

  // Windows of 16 or 8 words.
  logic rx_window, tx_window, move_window, mail_in_window, mail_out_window, phase_window;
  assign rx_window       = at[15:6] == RxWordOffset[15:6];
  assign tx_window       = at[15:6] == TxWordOffset[15:6];
  assign move_window     = at[15:6] == MoveWordOffset[15:6];
  assign mail_out_window = at[15:5] == MailOutOffset[15:5];
  assign mail_in_window  = at[15:5] == MailInOffset[15:5];
  assign phase_window    = at[15:5] == PhaseClocksOffset[15:5];

  // ---- receive, move completions, inbox ------------------------------------------------------------------------------------

  logic [8:0]  rx_count;
  logic [5:0]  done_count;
  logic [4:0]  mail_count;
  logic [31:0] rx_word, done_word, mail_word;
  logic        rx_pop, done_pop, mail_pop;

  assign rx_pop   = write && at == RxPopOffset && rx_count != '0;
  assign done_pop = write && at == MovePopOffset && done_count != '0;
  assign mail_pop = write && at == MailPopOffset && mail_count != '0;

  sluice_word_queue #(.Depth(RxQueue), .Beats(4)) u_rx (
    .clk_i, .rst_ni, .beat_valid_i(in_valid_i && in_kind_i == InRx), .beat_i(in_data_i),
    .read_i(read && rx_window), .word_i(addr_i[5:2]), .word_o(rx_word), .pop_i(rx_pop), .count_o(rx_count)
  );
  sluice_word_queue #(.Depth(DoneQueue), .Beats(1)) u_done (
    .clk_i, .rst_ni, .beat_valid_i(in_valid_i && in_kind_i == InMove), .beat_i(in_data_i),
    .read_i(read && (at == MoveDoneOffset || at == MoveCrcOffset)), .word_i({1'b0, addr_i[2]}),
    .word_o(done_word), .pop_i(done_pop), .count_o(done_count)
  );
  sluice_word_queue #(.Depth(MailQueue), .Beats(2)) u_mail (
    .clk_i, .rst_ni, .beat_valid_i(in_valid_i && in_kind_i == InMail), .beat_i(in_data_i),
    .read_i(read && mail_in_window), .word_i(addr_i[4:2]), .word_o(mail_word), .pop_i(mail_pop), .count_o(mail_count)
  );

  // ---- jobs and outgoing mail ----------------------------------------------------------------------------------------------

  logic [4:0]   tx_used, move_used;
  logic [5:0]   moves_open_q, done_room;  // posted and not popped; room for completions
  logic [4:0]   move_free;
  logic         tx_overrun, move_overrun, tx_ready, move_ready, move_post;
  logic [2:0]   out_pop;
  logic [1:0]   out_beat;
  logic [127:0] out_beats[3];
  logic         mail_busy_q, mail_refused_q;
  logic [7:0][31:0] mail_out_q;

  assign move_post = write && at == MovePostOffset;
  assign done_room = 6'(DoneQueue) - moves_open_q;
  assign move_free = (done_room < 6'd16 - 6'(move_used)) ? done_room[4:0] : 5'd16 - move_used;

  sluice_job_queue #(.Depth(JobQueue)) u_tx (
    .clk_i, .rst_ni, .write_i(write && tx_window), .word_i(addr_i[5:2]), .wdata_i,
    .post_i(write && at == TxPostOffset), .accept_i(tx_used != 5'd16), .used_o(tx_used), .overrun_o(tx_overrun),
    .sent_i, .reached_i, .ready_o(tx_ready), .beat_i(out_beat), .beat_o(out_beats[OutTx]), .pop_i(out_pop[OutTx])
  );
  sluice_job_queue #(.Depth(JobQueue)) u_move (
    .clk_i, .rst_ni, .write_i(write && move_window), .word_i(addr_i[5:2]), .wdata_i,
    .post_i(move_post), .accept_i(move_free != '0), .used_o(move_used), .overrun_o(move_overrun),
    .sent_i, .reached_i, .ready_o(move_ready), .beat_i(out_beat), .beat_o(out_beats[OutMove]), .pop_i(out_pop[OutMove])
  );
  assign out_beats[OutMail] = out_beat[0] ? mail_out_q[7:4] : mail_out_q[3:0];

  sluice_tile_out u_out (
    .clk_i, .rst_ni, .ready_i({mail_busy_q && !mail_refused_i && !out_pop[OutMail], move_ready, tx_ready}),
    .beat_i(out_beats), .beat_o(out_beat), .pop_o(out_pop), .req_o(out_req_o), .gnt_i(out_gnt_i),
    .valid_o(out_valid_o), .kind_o(out_kind_o), .data_o(out_data_o)
  );

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      moves_open_q   <= '0;
      mail_busy_q    <= 1'b0;
      mail_refused_q <= 1'b0;
      mail_to_o      <= '0;
    end else begin
      moves_open_q <= moves_open_q + 6'(move_post && move_free != '0) - 6'(done_pop);
      if (write && at == MailSendOffset && !mail_busy_q) begin
        mail_busy_q    <= 1'b1;
        mail_refused_q <= 1'b0;
        mail_to_o      <= wdata_i[CoreW-1:0];
      end else if (mail_refused_i || out_pop[OutMail]) begin
        mail_busy_q    <= 1'b0;
        mail_refused_q <= mail_refused_i;
      end
    end
  end
  always_ff @(posedge clk_i) begin
    if (write && mail_out_window && !mail_busy_q) mail_out_q[addr_i[4:2]] <= wdata_i;
  end

  // ---- events, timer, watchdog, small units --------------------------------------------------------------------------------

  logic [6:0]  events, event_mask;
  logic [31:0] crc, phase_count, tx_done_q, payload_q, frame_loads_q, time_hi_q, entropy_q, period_q, mixed;
  logic [2:0]  phase;

  sluice_core_events u_events (
    .clk_i, .rst_ni, .level_i({mail_count != '0, done_count != '0, rx_count != '0}),
    .set_i({snooped_i, host_event_i, sent_frame_i, wake_i}),
    .clear_i((write && at == EventsOffset) ? wdata_i[6:3] : 4'd0),
    .mask_write_i(write && at == EventMaskOffset), .mask_i(wdata_i[6:0]), .mask_o(event_mask), .events_o(events), .irq_o
  );
  sluice_crc_unit u_crc (
    .clk_i, .rst_ni, .init_i(write && at == CrcInitOffset),
    .feed_i(write && (at == CrcData32Offset || at == CrcData8Offset)), .byte_i(at == CrcData8Offset), .data_i(wdata_i),
    .result_o(crc)
  );
  sluice_phase_counters u_phases (
    .clk_i, .rst_ni, .clocks_i, .switch_i(write && at == PhaseOffset), .phase_i(wdata_i[2:0]), .phase_o(phase),
    .select_i(peek_i ? peek_select_i[2:0] : addr_i[4:2]), .count_o(phase_count)
  );

  // Every read of ENTROPY steps the state, so that two cores that read in the same clock see different numbers.
  function automatic logic [31:0] xorshift(input logic [31:0] x);
    xorshift = x ^ (x << 13);
    xorshift = xorshift ^ (xorshift >> 17);
    xorshift = xorshift ^ (xorshift << 5);
  endfunction
  assign mixed = entropy_q ^ entropy_i;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      tx_done_q     <= '0;
      payload_q     <= '0;
      frame_loads_q <= '0;
      time_hi_q     <= '0;
      entropy_q     <= '0;
      wake_on_o     <= 1'b0;
      wake_at_o     <= '0;
      period_q      <= '0;
      watchdog_on_o <= 1'b0;
      watchdog_at_o <= '0;
      snoop_first_o <= '0;
      snoop_end_o   <= '0;
      peek_value_o  <= '0;
      rx_popped_o   <= 1'b0;
      mail_popped_o <= 1'b0;
    end else begin
      rx_popped_o   <= rx_pop;
      mail_popped_o <= mail_pop;
      if (sent_frame_i) tx_done_q <= tx_done_q + 32'd1;
      if (payload_i) payload_q <= payload_q + 32'd1;
      if (frame_load_i) frame_loads_q <= frame_loads_q + 32'd1;
      if (read && at == TimeLoOffset) time_hi_q <= time_us_i[63:32];
      if (read && at == EntropyOffset) entropy_q <= xorshift(mixed ^ {27'h155_5555, core_id_i});
      if (wake_i) wake_on_o <= 1'b0;
      if (write) begin
        unique case (at)
          SnoopOffset: begin
            snoop_first_o <= wdata_i[11:0];
            snoop_end_o   <= wdata_i[27:16];
          end
          WakeAtOffset: begin
            wake_on_o <= 1'b1;
            wake_at_o <= wdata_i;
          end
          WatchdogPeriodOffset: begin
            period_q      <= wdata_i;
            watchdog_on_o <= wdata_i != '0;
            watchdog_at_o <= clocks_i + wdata_i;
          end
          WatchdogKickOffset: watchdog_at_o <= clocks_i + period_q;
          default: ;
        endcase
      end
      if (peek_i) begin
        unique case (peek_select_i)
          4'd8: peek_value_o <= payload_q;
          4'd9: peek_value_o <= frame_loads_q;
          4'd11: peek_value_o <= {30'd0, fault_i, asleep_i};
          default: peek_value_o <= phase_count;
        endcase
      end
    end
  end

  // ---- loads ---------------------------------------------------------------------------------------------------------------

  logic [31:0] rdata_q;
  from_e       from_q;
  logic        at_done_q, done_valid_q;  // the word is MOVE_DONE; a completion is there

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      rdata_q      <= '0;
      from_q       <= FromRegs;
      at_done_q    <= 1'b0;
      done_valid_q <= 1'b0;
    end else if (read) begin
      at_done_q    <= at == MoveDoneOffset;
      done_valid_q <= done_count != '0;
      if (rx_window) from_q <= FromRx;
      else if (mail_in_window) from_q <= FromMail;
      else if (at == MoveDoneOffset || at == MoveCrcOffset) from_q <= FromMove;
      else from_q <= FromRegs;
      unique case (at)
        CoreIdOffset:          rdata_q <= {16'(MapVersion), 3'd0, num_cores_i, 3'd0, core_id_i};
        EventsOffset:          rdata_q <= 32'(events);
        EventMaskOffset:       rdata_q <= 32'(event_mask);
        SnoopOffset:           rdata_q <= {4'd0, snoop_end_o, 4'd0, snoop_first_o};
        TimeLoOffset:          rdata_q <= time_us_i[31:0];
        TimeHiOffset:          rdata_q <= time_hi_q;
        ClocksOffset:          rdata_q <= clocks_i;
        WakeAtOffset:          rdata_q <= wake_at_o;
        EntropyOffset:         rdata_q <= mixed;
        PhaseOffset:           rdata_q <= 32'(phase);
        WatchdogPeriodOffset:  rdata_q <= period_q;
        CrcResultOffset:       rdata_q <= crc;
        PayloadAccessesOffset: rdata_q <= payload_q;
        FrameLoadsOffset:      rdata_q <= frame_loads_q;
        RxStatusOffset:        rdata_q <= {15'd0, rx_count, 7'd0, rx_count != '0};
        TxStatusOffset:        rdata_q <= {tx_overrun, 26'd0, 5'd16 - tx_used};
        TxDoneOffset:          rdata_q <= tx_done_q;
        MoveStatusOffset:      rdata_q <= {move_overrun, 26'd0, move_free};
        MailSendStatusOffset:  rdata_q <= {30'd0, mail_refused_q, mail_busy_q};
        MailStatusOffset:      rdata_q <= {31'd0, mail_count != '0};
        default:               rdata_q <= phase_window ? phase_count : '0;
      endcase
    end
  end

  always_comb begin
    unique case (from_q)
      FromRx:   rdata_o = rx_word;
      FromMove: rdata_o = {at_done_q ? done_valid_q : done_word[31], done_word[30:0]};
      FromMail: rdata_o = mail_word;
      default:  rdata_o = rdata_q;
    endcase
  end

  `SLUICE_ASSERT(MailOneOutcome, !(mail_refused_i && out_gnt_i[OutMail]))
  `SLUICE_ASSERT(MailSendWhenIdle, write && at == MailSendOffset |-> !mail_busy_q)
endmodule : sluice_core_regs
