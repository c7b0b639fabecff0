`include "sluice_assert.svh"

/// One direction of the trace: keeps the first bytes of each frame in a buffer until they are written to the host. It only
/// listens: what finds no room is forgotten and counted.
module sluice_trace_lane
  import sluice_pkg::*;
#(
  parameter int unsigned Words  = 2048, // of 16 bytes, power of two; at least twice the longest frame
  parameter int unsigned Frames = 64    // frames held, power of two
) (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         on_i,           // frames that begin and end while it is high are kept
  input  logic [13:0]  snap_i,         // bytes kept of each, at most RxFrameMax; constant while frames are held
  input  logic [15:0]  tcp_port_i,
  input  logic [15:0]  udp_port_i,
  input  logic [63:0]  clocks_i,       // when the beat passed
  input  logic         beat_valid_i,
  input  logic [127:0] beat_data_i,    // bytes beyond the frame's end are zero
  input  logic [4:0]   beat_count_i,
  input  logic         beat_last_i,
  output logic         kept_o,         // with the last beat: the frame is kept
  output logic         lost_o,         // pulse: one was to be kept and could not be
  // oldest frame
  output logic         frame_valid_o,
  output trace_frame_t frame_o,
  input  logic         frame_pop_i,    // after its words were read or skipped
  input  logic         read_i,         // take the next word; its data is there one clock later
  output logic [127:0] read_data_o,
  input  logic         skip_i,         // drop words unread; never together with read_i
  input  logic [9:0]   skip_words_i
);
  localparam int unsigned PtrW = $clog2(Words);
  // Longer frames are of no interest here, and their length shows no more than this.
  localparam logic [13:0] LenMax = 14'h3FE0;

  logic [127:0]  buffer_mem [Words];
  logic [PtrW:0] wr_q, rd_q, start_q, start, held;
  logic [13:0]   len_q, earlier, len;
  logic          open_q, take_q, over_q, take, over, wanted, store, match, ends, room;

  assign held   = wr_q - rd_q;
  assign start  = open_q ? start_q : wr_q;
  assign earlier = open_q ? len_q : '0;
  assign len     = earlier >= LenMax ? earlier : earlier + 14'(beat_count_i);
  assign take   = on_i && (!open_q || take_q);
  assign wanted = take && earlier < snap_i;
  assign over   = (open_q ? over_q : !room) || (wanted && held[PtrW]);
  assign store  = beat_valid_i && wanted && !over;
  assign ends   = beat_valid_i && beat_last_i;
  assign kept_o = ends && take && match && !over;

  sluice_trace_match u_match (
    .clk_i, .rst_ni, .tcp_port_i, .udp_port_i, .valid_i(beat_valid_i), .data_i(beat_data_i), .last_i(beat_last_i),
    .match_o(match)
  );

  always_ff @(posedge clk_i) begin
    if (store)  buffer_mem[wr_q[PtrW-1:0]] <= beat_data_i;
    if (read_i) read_data_o <= buffer_mem[rd_q[PtrW-1:0]];
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      wr_q   <= '0;
      rd_q   <= '0;
      open_q <= 1'b0;
      take_q <= 1'b0;
      lost_o <= 1'b0;
    end else begin
      if (ends && !kept_o) wr_q <= start;
      else if (store)      wr_q <= wr_q + 1'b1;
      rd_q   <= rd_q + (PtrW + 1)'(read_i) + (skip_i ? (PtrW + 1)'(skip_words_i) : '0);
      if (beat_valid_i) open_q <= !beat_last_i;
      // One that was under way when the trace ended is not taken up by the next trace.
      take_q <= on_i && (beat_valid_i ? take : take_q);
      lost_o <= ends && take && match && over;
    end
  end
  always_ff @(posedge clk_i) begin
    if (beat_valid_i) begin
      start_q <= start;
      over_q  <= over;
      len_q   <= len;
    end
  end

  logic [$clog2(Frames):0] frames;
  trace_frame_t            frame;
  assign frame = '{at: clocks_i, len: len, kept: len < snap_i ? len : snap_i};
  sluice_stream_fifo #(.Width($bits(trace_frame_t)), .Depth(Frames)) u_frames (
    .clk_i, .rst_ni, .in_valid_i(kept_o), .in_ready_o(room), .in_data_i(frame),
    .out_valid_o(frame_valid_o), .out_ready_i(frame_pop_i), .out_data_o(frame_o), .count_o(frames)
  );

  logic unused;
  assign unused = ^frames;

  `SLUICE_ASSERT(PopsWhatIsThere, frame_pop_i |-> frame_valid_o)
  `SLUICE_ASSERT(ReadsWhatIsThere, read_i |-> held != '0)
  `SLUICE_ASSERT(SkipsWhatIsThere, skip_i |-> !read_i && held >= (PtrW + 1)'(skip_words_i))
  `SLUICE_ASSERT_STATIC(HoldsTwoFrames, Words == (1 << PtrW) && Words * 16 >= 2 * RxFrameMax)
endmodule : sluice_trace_lane
