`include "sluice_assert.svh"

/// Moves bytes: gathers pieces of packet memory or a run of host memory, computes CRC32C on the way, and writes them to any
/// byte address of either. One job at a time, a row a clock; the write of a job has reached memory before the next one reads.
///
/// A job with no or more than 4 sources, or with more than 128 KiB, moves nothing and completes with ok = 0.
/// A job of zero bytes completes with ok = 1. After a bus error nothing more is written and ok is 0.
module sluice_mover
  import sluice_pkg::*;
  import sluice_crc32c_pkg::*;
#(
  parameter int unsigned NumCores    = 2,
  parameter int unsigned CrcContexts = 256 // per core, power of two
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             job_valid_i,
  output logic             job_ready_o,
  input  logic [CoreW-1:0] job_core_i,
  input  move_job_t        job_i,
  output logic             done_valid_o,
  input  logic             done_ready_i,
  output logic [CoreW-1:0] done_core_o,
  output move_done_t       done_o,
  output pm_req_t          rd_req_o,     // reads only
  input  pm_rsp_t          rd_rsp_i,
  output pm_req_t          wr_req_o,     // writes only
  input  pm_rsp_t          wr_rsp_i,
  output host_req_t        host_req_o,
  input  host_rsp_t        host_rsp_i,
  output logic             cnt_move_o,   // a job is done
  output logic [17:0]      cnt_bytes_o   // bytes it moved; valid with cnt_move_o
);
  localparam int unsigned MaxBytes = 128 * 1024;
  localparam int unsigned CtxW     = $clog2(CrcContexts);
  localparam int unsigned CrcIdxW  = $clog2(NumCores * CrcContexts);

  typedef enum logic [2:0] {
    Idle,     // waits for a job
    Check,    // adds the lengths, reads the CRC context
    Run,      // data flow
    Drain,    // last rows on their way to memory
    CrcLow,   // CRC written: first row
    CrcHigh,  // CRC written: second row, if it straddles
    Complete  // waits for the completion to be taken
  } state_e;

  state_e           state_d, state_q;
  move_job_t        job_q;
  logic [CoreW-1:0] core_q;
  logic [31:0]      crc_q;
  logic             failed_q;
  logic [17:0]      bytes_q;

  // ---- job ----
  logic [19:0] total;
  logic        legal;
  logic [1:0]  last_piece;  // last source that is not empty
  always_comb begin
    total      = '0;
    last_piece = '0;
    for (int i = 0; i < 4; i++) begin
      if (3'(i) < (job_q.source_host ? 3'd1 : job_q.source_len)) begin
        total += 20'(job_q.source[i].len);
        if (job_q.source[i].len != '0) last_piece = 2'(i);
      end
    end
    legal = job_q.source_len != '0 && job_q.source_len <= 3'd4 && total <= 20'(MaxBytes);
  end

  // ---- CRC contexts ----
  logic [31:0]        context_mem [NumCores * CrcContexts];
  logic [31:0]        context_q;
  logic [CrcIdxW-1:0] context_idx_in, context_idx;
  assign context_idx_in = CrcIdxW'({job_core_i, job_i.crc_context[CtxW-1:0]});
  assign context_idx    = CrcIdxW'({core_q, job_q.crc_context[CtxW-1:0]});
  always_ff @(posedge clk_i) begin
    if (state_q == Idle) context_q <= context_mem[context_idx_in];
    if (state_q == Complete && job_q.crc) context_mem[context_idx] <= crc_q;
  end

  // ---- sources ----
  logic [1:0]   piece_q;      // next piece to hand over
  logic         feeding_q;    // pieces are left
  logic         piece_valid, piece_ready, piece_last;
  logic         pm_row_valid, host_row_valid, row_valid, row_ready, row_last, pm_row_last, host_row_last, host_row_err;
  logic [127:0] pm_row_data, host_row_data, row_data;
  logic [3:0]   pm_row_offset, host_row_offset, row_offset;
  logic [4:0]   pm_row_count, host_row_count, row_count;
  logic         read_ready, row_blank;

  assign piece_valid = feeding_q && !job_q.source_host;
  assign piece_last  = piece_q == last_piece;

  sluice_gather_read u_read (
    .clk_i, .rst_ni,
    .piece_valid_i(piece_valid), .piece_ready_o(piece_ready),
    .piece_addr_i (job_q.source[piece_q].addr), .piece_len_i(job_q.source[piece_q].len), .piece_last_i(piece_last),
    .piece_blank_i(1'b0), .pm_req_o(rd_req_o), .pm_rsp_i(rd_rsp_i),
    .row_valid_o(pm_row_valid), .row_ready_i(row_ready && !job_q.source_host),
    .row_data_o(pm_row_data), .row_offset_o(pm_row_offset), .row_count_o(pm_row_count), .row_last_o(pm_row_last),
    .row_blank_o(row_blank)
  );

  assign row_valid  = job_q.source_host ? host_row_valid : pm_row_valid;
  assign row_data   = job_q.source_host ? host_row_data : pm_row_data;
  assign row_offset = job_q.source_host ? host_row_offset : pm_row_offset;
  assign row_count  = job_q.source_host ? host_row_count : pm_row_count;
  assign row_last   = job_q.source_host ? host_row_last : pm_row_last;

  logic         beat_valid, beat_ready, beat_last;
  logic [127:0] beat_data;
  logic [4:0]   beat_count;
  sluice_gather_pack u_pack (
    .clk_i, .rst_ni,
    .row_valid_i(row_valid), .row_ready_o(row_ready), .row_data_i(row_data), .row_offset_i(row_offset),
    .row_count_i(row_count), .row_last_i(row_last),
    .valid_o(beat_valid), .ready_i(beat_ready), .data_o(beat_data), .count_o(beat_count), .last_o(beat_last)
  );

  // ---- target ----
  logic         put, put_ready, put_valid, out_valid, out_ready, out_last, host_idle, host_write_ready;
  logic [59:0]  out_row;
  logic [15:0]  out_be;
  logic [127:0] out_data;

  assign put        = job_q.write_data && !failed_q;
  assign put_valid  = beat_valid && put;
  assign beat_ready = put ? put_ready : 1'b1;

  sluice_scatter #(.AddrW(64)) u_scatter (
    .clk_i, .rst_ni,
    .clear_i(state_q == Complete),
    .start_i({job_q.target_hi, job_q.target_lo}),
    .valid_i(put_valid), .ready_o(put_ready), .data_i(beat_data), .count_i(beat_count), .last_i(beat_last),
    .row_valid_o(out_valid), .row_ready_i(out_ready), .row_o(out_row), .row_be_o(out_be), .row_data_o(out_data),
    .row_last_o(out_last)
  );

  sluice_mover_host u_host (
    .clk_i, .rst_ni,
    .read_valid_i(feeding_q && job_q.source_host), .read_ready_o(read_ready),
    .read_addr_i({job_q.host_src_hi, job_q.source[0].zero_addr, job_q.source[0].addr}), .read_len_i(job_q.source[0].len),
    .row_valid_o(host_row_valid), .row_ready_i(row_ready && job_q.source_host),
    .row_data_o(host_row_data), .row_offset_o(host_row_offset), .row_count_o(host_row_count), .row_last_o(host_row_last),
    .row_err_o(host_row_err),
    .write_valid_i(out_valid && job_q.target_host), .write_ready_o(host_write_ready),
    .write_row_i(out_row), .write_be_i(out_be), .write_data_i(out_data),
    .idle_o(host_idle), .host_req_o, .host_rsp_i
  );

  // ---- CRC write-back: 4 bytes anywhere ----
  logic [255:0] crc_wide;
  logic [31:0]  crc_be;
  logic         crc_phase;
  assign crc_wide  = {224'h0, ~crc_q} << {job_q.crc_addr[3:0], 3'b000};
  assign crc_be    = 32'hF << job_q.crc_addr[3:0];
  assign crc_phase = state_q == CrcLow || state_q == CrcHigh;

  always_comb begin
    wr_req_o = '{
      req: out_valid && !job_q.target_host, we: 1'b1, row: out_row[PmRowW-1:0], be: out_be, wdata: out_data
    };
    if (state_q == CrcLow) begin
      wr_req_o = '{req: 1'b1, we: 1'b1, row: job_q.crc_addr[23:4], be: crc_be[15:0], wdata: crc_wide[127:0]};
    end else if (state_q == CrcHigh) begin
      wr_req_o = '{
        req: 1'b1, we: 1'b1, row: job_q.crc_addr[23:4] + 1'b1, be: crc_be[31:16], wdata: crc_wide[255:128]
      };
    end
  end
  assign out_ready = job_q.target_host ? host_write_ready : wr_rsp_i.gnt && !crc_phase;

  // ---- control ----
  logic take, last_taken;
  assign job_ready_o  = state_q == Idle;
  assign take         = beat_valid && beat_ready;
  assign last_taken   = take && beat_last;
  assign done_valid_o = state_q == Complete;
  assign done_core_o  = core_q;
  assign done_o       = '{ok: !failed_q, tag: job_q.tag, crc: job_q.crc ? ~crc_q : '0};

  always_comb begin
    state_d = state_q;
    unique case (state_q)
      Idle:     if (job_valid_i) state_d = Check;
      Check:    state_d = (legal && total != '0) ? Run : Drain;
      Run:      if (last_taken) state_d = Drain;
      Drain: begin
        if (!out_valid && host_idle) state_d = (job_q.crc && job_q.crc_write && !failed_q) ? CrcLow : Complete;
      end
      CrcLow:   if (wr_rsp_i.gnt) state_d = (crc_be[31:16] != '0) ? CrcHigh : Complete;
      CrcHigh:  if (wr_rsp_i.gnt) state_d = Complete;
      Complete: if (done_ready_i) state_d = Idle;
      default:  state_d = Idle;
    endcase
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q    <= Idle;
      feeding_q  <= 1'b0;
      cnt_move_o <= 1'b0;
    end else begin
      state_q    <= state_d;
      cnt_move_o <= state_q == Complete && done_ready_i;
      if (state_q == Check && legal && total != '0) feeding_q <= 1'b1;
      else if (job_q.source_host ? read_ready : piece_ready && piece_last) feeding_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    unique case (state_q)
      Idle: begin
        job_q    <= job_i;
        core_q   <= job_core_i;
        piece_q  <= '0;
        failed_q <= 1'b0;
        bytes_q  <= '0;
      end
      Check: begin
        crc_q    <= job_q.crc_init ? '1 : context_q;
        failed_q <= !legal;
      end
      default: begin
        if (piece_valid && piece_ready) piece_q <= piece_q + 1'b1;
        if (host_row_valid && row_ready && host_row_err) failed_q <= 1'b1;
        if (take) begin
          if (job_q.crc) crc_q <= step(crc_q, beat_data, beat_count);
          if (!failed_q) bytes_q <= bytes_q + 18'(beat_count);
        end
      end
    endcase
    cnt_bytes_o <= bytes_q;
  end

  logic unused;
  assign unused = ^{row_blank, 
    out_last, wr_rsp_i.rvalid, wr_rsp_i.rdata, job_q.word15, job_q.zero3, job_q.zero2, job_q.zero1, job_q.zero0b, job_q.zero0a,
    job_q.crc_context[9:CtxW], job_q.source
  };

  `SLUICE_ASSERT(NoReadForWriter, !wr_rsp_i.rvalid)
  `SLUICE_ASSERT_STATIC(ContextsPowerOfTwo, CrcContexts == (1 << CtxW) && CtxW <= 10)
endmodule : sluice_mover
