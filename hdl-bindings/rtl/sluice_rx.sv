/// Receive engine: frames in, buffers and descriptors out. The wire is never stalled; what is not delivered is counted.
/// The checks and formats are those of `docs/card.md`, sections 3 and 4.
module sluice_rx
  import sluice_pkg::*;
  import sluice_rx_pkg::*;
#(
  parameter int unsigned NumCores = 2
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,
  input  logic                  rx_valid_i,
  input  logic [127:0]          rx_data_i,
  input  logic [15:0]           rx_keep_i,      // contiguous from bit 0, all ones unless last
  input  logic                  rx_last_i,
  output pm_req_t               pm_req_o,       // writes only
  input  pm_rsp_t               pm_rsp_i,
  input  logic [47:0]           cfg_mac_i,      // first byte on the wire in bits 47:40
  input  logic [31:0]           time_us_i,
  output logic [6:0]            steer_index_o,
  input  logic [CoreW-1:0]      steer_core_i,   // one clock after the index
  input  logic [NumCores-1:0]   desc_room_i,    // that core's queue has a place
  input  logic [NumCores-1:0]   desc_lag_i,     // that core is behind
  output logic                  desc_valid_o,
  input  logic                  desc_ready_i,
  output logic [CoreW-1:0]      desc_core_o,
  output rx_desc_t              desc_o,
  input  logic                  free_valid_i,
  output logic                  free_ready_o,
  input  logic [11:0]           free_buf_i,
  output logic                  cnt_frame_o,    // a frame was delivered
  output logic [13:0]           cnt_bytes_o,    // its length; valid with cnt_frame_o
  output logic [NumRxDrops-1:0] cnt_drop_o,     // by rx_drop_e; several kinds may end in one clock
  output logic                  cnt_pause_o,    // PAUSE or PFC
  output logic [15:0]           pause_quanta_o, // of the last PAUSE
  // for the trace: every beat, a clock after the wire
  output logic                  seen_valid_o,
  output logic [127:0]          seen_data_o,    // bytes beyond the frame's end are zero
  output logic [4:0]            seen_count_o,
  output logic                  seen_last_o,
  output logic                  seen_lost_o,    // with the last beat: an overrun, there will be no verdict
  output logic                  judged_o,       // verdict on the next frame that was not lost
  output logic                  judged_drop_o,
  output rx_drop_e              judged_reason_o // meaningful with judged_drop_o
);
  localparam int unsigned Frames = 64;

  logic                  beat_valid, beat_last, beat_kill, overrun, facts_valid;
  logic [127:0]          beat_data, read_data;
  logic [4:0]            beat_count;
  logic [9:0]            beat_words, skip_words;
  logic                  read, skip, judged_valid, record_fits, record_valid, record_ready;
  facts_t                facts;
  record_t               judged, record;
  logic [$clog2(Frames):0] records;
  logic [NumRxDrops-1:0] drop;

  sluice_rx_ring #(.Frames(Frames)) u_ring (
    .clk_i, .rst_ni, .rx_valid_i, .rx_data_i, .rx_keep_i, .rx_last_i,
    .beat_valid_o(beat_valid), .beat_data_o(beat_data), .beat_count_o(beat_count), .beat_last_o(beat_last),
    .beat_kill_o(beat_kill), .beat_words_o(beat_words), .overrun_o(overrun),
    .read_i(read), .read_data_o(read_data), .skip_i(skip), .skip_words_i(skip_words),
    .retire_i(record_valid && record_ready)
  );

  sluice_rx_parse u_parse (
    .clk_i, .rst_ni, .cfg_mac_i, .beat_valid_i(beat_valid), .beat_data_i(beat_data), .beat_count_i(beat_count),
    .beat_last_i(beat_last), .beat_kill_i(beat_kill), .beat_words_i(beat_words),
    .facts_valid_o(facts_valid), .facts_o(facts)
  );

  sluice_rx_judge #(.NumCores(NumCores)) u_judge (
    .clk_i, .rst_ni, .time_us_i, .facts_valid_i(facts_valid), .facts_i(facts), .steer_index_o, .steer_core_i,
    .record_valid_o(judged_valid), .record_o(judged), .cnt_pause_o, .pause_quanta_o
  );

  sluice_stream_fifo #(.Width($bits(record_t)), .Depth(Frames)) u_records (
    .clk_i, .rst_ni, .in_valid_i(judged_valid), .in_ready_o(record_fits), .in_data_i(judged),
    .out_valid_o(record_valid), .out_ready_i(record_ready), .out_data_o(record), .count_o(records)
  );

  sluice_rx_deliver #(.NumCores(NumCores)) u_deliver (
    .clk_i, .rst_ni, .record_valid_i(record_valid), .record_ready_o(record_ready), .record_i(record),
    .read_o(read), .read_data_i(read_data), .skip_o(skip), .skip_words_o(skip_words),
    .pm_req_o, .pm_rsp_i, .desc_room_i, .desc_lag_i, .desc_valid_o, .desc_ready_i, .desc_core_o, .desc_o,
    .free_valid_i, .free_ready_o, .free_buf_i, .cnt_frame_o, .cnt_bytes_o, .cnt_drop_o(drop)
  );

  assign seen_valid_o    = beat_valid;
  assign seen_data_o     = beat_data;
  assign seen_count_o    = beat_count;
  assign seen_last_o     = beat_last;
  assign seen_lost_o     = beat_kill;
  assign judged_o        = judged_valid;
  assign judged_drop_o   = judged.drop;
  assign judged_reason_o = judged.reason;

  always_comb begin
    cnt_drop_o              = drop;
    cnt_drop_o[DropOverrun] = overrun;
  end

  logic unused;
  assign unused = ^{records, record_fits};
endmodule : sluice_rx
