`include "sluice_assert.svh"

/// Transmit engine: jobs in, frames out, in order. Cuts jobs into frames, gathers their bytes from packet memory, edits
/// headers, fills in checksums. The formats are those of `docs/card.md`, section 3.
module sluice_tx
  import sluice_pkg::*;
  import sluice_tx_pkg::*;
(
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             job_valid_i,
  output logic             job_ready_o,
  input  logic [CoreW-1:0] job_core_i,
  input  tx_job_t          job_i,
  output logic             done_valid_o, // a pulse per job, in order: its last byte has been read
  output logic [CoreW-1:0] done_core_o,
  output pm_req_t          pm_req_o,     // reads only
  input  pm_rsp_t          pm_rsp_i,
  output logic             tx_valid_o,
  input  logic             tx_ready_i,
  output logic [127:0]     tx_data_o,
  output logic [15:0]      tx_keep_o,
  output logic             tx_last_o,
  output logic             cnt_frame_o,  // a frame was sent
  output logic [13:0]      cnt_bytes_o,  // its length; valid with cnt_frame_o
  output logic             cnt_bad_o     // malformed job: completed, nothing sent
);
  logic               cut_valid, cut_ready, frame_valid, frame_ready, piece_valid, piece_ready, piece_last;
  frame_t             cut_frame, frame;
  logic [PmAddrW-1:0] piece_addr;
  logic [17:0]        piece_len;
  logic               piece_blank, piece_may, read_ready, literal_room, literal_valid, row_blank;
  logic [127:0]       piece_data, literal, row_read;
  logic [3:0]         literals_ahead;
  logic               row_valid, row_ready, row_last, beat_valid, beat_ready, beat_last;
  logic [127:0]       row_data, beat_data;
  logic [3:0]         row_offset;
  logic [4:0]         row_count, beat_count;
  logic               word_valid, word_ready, record_valid, record_room;
  logic [127:0]       word_data;
  record_t            record;
  logic [2:0]         frames_ahead;

  sluice_tx_cut u_cut (
    .clk_i, .rst_ni, .job_valid_i, .job_ready_o, .job_core_i, .job_i,
    .frame_valid_o(cut_valid), .frame_ready_i(cut_ready), .frame_o(cut_frame),
    .piece_valid_o(piece_valid), .piece_ready_i(piece_ready), .piece_addr_o(piece_addr), .piece_len_o(piece_len),
    .piece_last_o(piece_last), .piece_blank_o(piece_blank), .piece_data_o(piece_data)
  );

  sluice_stream_fifo #(.Width($bits(frame_t)), .Depth(4)) u_frames (
    .clk_i, .rst_ni,
    .in_valid_i (cut_valid), .in_ready_o (cut_ready), .in_data_i (cut_frame),
    .out_valid_o(frame_valid), .out_ready_i(frame_ready), .out_data_o(frame), .count_o(frames_ahead)
  );

  // Headers that the engine makes go round packet memory and meet the rows from there in their place.
  assign piece_may   = !piece_blank || literal_room;
  assign piece_ready = read_ready && piece_may;

  sluice_gather_read u_read (
    .clk_i, .rst_ni,
    .piece_valid_i(piece_valid && piece_may), .piece_ready_o(read_ready), .piece_addr_i(piece_addr), .piece_len_i(piece_len),
    .piece_last_i(piece_last), .piece_blank_i(piece_blank), .pm_req_o, .pm_rsp_i,
    .row_valid_o(row_valid), .row_ready_i(row_ready), .row_data_o(row_read), .row_offset_o(row_offset),
    .row_count_o(row_count), .row_last_o(row_last), .row_blank_o(row_blank)
  );

  sluice_stream_fifo #(.Width(128), .Depth(8)) u_literals (
    .clk_i, .rst_ni,
    .in_valid_i (piece_valid && piece_blank && read_ready), .in_ready_o(literal_room), .in_data_i(piece_data),
    .out_valid_o(literal_valid), .out_ready_i(row_valid && row_ready && row_blank), .out_data_o(literal),
    .count_o(literals_ahead)
  );
  assign row_data = row_blank ? literal : row_read;

  sluice_gather_pack u_pack (
    .clk_i, .rst_ni,
    .row_valid_i(row_valid), .row_ready_o(row_ready), .row_data_i(row_data), .row_offset_i(row_offset),
    .row_count_i(row_count), .row_last_i(row_last),
    .valid_o(beat_valid), .ready_i(beat_ready), .data_o(beat_data), .count_o(beat_count), .last_o(beat_last)
  );

  sluice_tx_edit u_edit (
    .clk_i, .rst_ni,
    .frame_valid_i(frame_valid), .frame_ready_o(frame_ready), .frame_i(frame),
    .beat_valid_i(beat_valid), .beat_ready_o(beat_ready), .beat_data_i(beat_data), .beat_last_i(beat_last),
    .word_valid_o(word_valid), .word_ready_i(word_ready), .word_data_o(word_data),
    .record_valid_o(record_valid), .record_room_i(record_room), .record_o(record),
    .done_valid_o, .done_core_o, .bad_o(cnt_bad_o)
  );

  sluice_tx_send u_send (
    .clk_i, .rst_ni,
    .word_valid_i(word_valid), .word_ready_o(word_ready), .word_data_i(word_data),
    .record_valid_i(record_valid), .record_room_o(record_room), .record_i(record),
    .tx_valid_o, .tx_ready_i, .tx_data_o, .tx_keep_o, .tx_last_o, .cnt_frame_o, .cnt_bytes_o
  );

  logic unused;
  assign unused = ^{frames_ahead, literals_ahead, beat_count};

  `SLUICE_ASSERT(LiteralIsThere, row_valid && row_blank |-> literal_valid)
endmodule : sluice_tx
