`include "sluice_assert.svh"

/// Input buffer of rx: takes every beat of the wire, keeps whole frames until they are delivered or dropped, and forgets
/// a frame that finds it full. The parser sees the beats one clock later.
module sluice_rx_ring
  import sluice_pkg::*;
#(
  parameter int unsigned Words  = 2048, // of 16 bytes, power of two; at least twice the longest frame
  parameter int unsigned Frames = 64    // frames held
) (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         rx_valid_i,
  input  logic [127:0] rx_data_i,
  input  logic [15:0]  rx_keep_i,
  input  logic         rx_last_i,
  // to the parser
  output logic         beat_valid_o,
  output logic [127:0] beat_data_o,  // bytes beyond count are zero
  output logic [4:0]   beat_count_o, // 1 to 16
  output logic         beat_last_o,
  output logic         beat_kill_o,  // with last: the frame was not stored, no record is wanted
  output logic [9:0]   beat_words_o, // with last: ring words the frame occupies
  output logic         overrun_o,    // pulse: a frame was forgotten
  // from the delivering side
  input  logic         read_i,       // take the next word; its data is there one clock later
  output logic [127:0] read_data_o,
  input  logic         skip_i,       // drop words unread; never together with read_i
  input  logic [9:0]   skip_words_i,
  input  logic         retire_i      // a frame's record was taken
);
  localparam int unsigned PtrW     = $clog2(Words);
  localparam int unsigned CntW     = $clog2(Frames + 1);
  localparam int unsigned MaxWords = RxFrameMax / 16;

  logic [127:0]    ring_mem [Words];
  logic [PtrW:0]   wr_q, rd_q, start_q;
  logic [PtrW:0]   held, start;
  logic [CntW-1:0] frames_q;
  logic [9:0]      words_q, words;
  logic            open_q, over_q, over, store, full, valid;

  // Follows the wire through resets of the engine, so that the rest of a frame is never taken for a frame.
  logic wire_open_q;
  initial wire_open_q = 1'b0;
  always_ff @(posedge clk_i) if (rx_valid_i) wire_open_q <= !rx_last_i;
  assign valid = rx_valid_i && (open_q || !wire_open_q);

  assign held  = wr_q - rd_q;
  assign full  = held[PtrW];
  assign start = open_q ? start_q : wr_q;
  assign words = open_q ? words_q : '0;
  assign store = valid && !over && words != 10'(MaxWords);
  // Lost: no room for its record when it began, or no room for a word of it.
  assign over  = (open_q ? over_q : frames_q == CntW'(Frames)) || (full && words != 10'(MaxWords));

  always_ff @(posedge clk_i) begin
    if (store)  ring_mem[wr_q[PtrW-1:0]] <= rx_data_i;
    if (read_i) read_data_o <= ring_mem[rd_q[PtrW-1:0]];
  end

  logic accept;
  assign accept = valid && rx_last_i && !over;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      wr_q         <= '0;
      rd_q         <= '0;
      open_q       <= 1'b0;
      frames_q     <= '0;
      beat_valid_o <= 1'b0;
      overrun_o    <= 1'b0;
    end else begin
      if (valid) begin
        open_q <= !rx_last_i;
        if (rx_last_i && over) wr_q <= start;
        else if (store)        wr_q <= wr_q + 1'b1;
      end
      rd_q         <= rd_q + (PtrW + 1)'(read_i) + (skip_i ? (PtrW + 1)'(skip_words_i) : '0);
      frames_q     <= frames_q + CntW'(accept) - CntW'(retire_i);
      beat_valid_o <= valid;
      overrun_o    <= valid && rx_last_i && over;
    end
  end

  always_ff @(posedge clk_i) begin
    if (valid) begin
      start_q <= start;
      over_q  <= over;
      words_q <= words + 10'(store);
      for (int i = 0; i < 16; i++) beat_data_o[8*i+:8] <= rx_keep_i[i] ? rx_data_i[8*i+:8] : 8'h0;
      beat_count_o <= count_of(rx_keep_i);
      beat_last_o  <= rx_last_i;
      beat_kill_o  <= over;
      beat_words_o <= words + 10'(store);
    end
  end

  function automatic logic [4:0] count_of(input logic [15:0] keep);
    logic [4:0] count;
    count = '0;
    for (int i = 0; i < 16; i++) if (keep[i]) count = 5'(i + 1);
    return count;
  endfunction

  `SLUICE_ASSERT(KeepIsContiguous, rx_valid_i |-> (rx_keep_i & (rx_keep_i + 1'b1)) == '0 && rx_keep_i != '0)
  `SLUICE_ASSERT(ShortOnlyAtTheEnd, rx_valid_i && !rx_last_i |-> &rx_keep_i)
  `SLUICE_ASSERT(ReadsWhatIsThere, read_i |-> held != '0)
endmodule : sluice_rx_ring
