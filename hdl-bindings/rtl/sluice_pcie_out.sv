`include "sluice_assert.svh"

/// Outbound side of the PCIe port, transaction level: doorbells, MSI-X messages, the mover's accesses to host memory, and the
/// trace's in clocks in which nobody else wants to; one beat of up to 16 bytes a clock. Writes are posted and leave in the order
/// in which they were taken here.
module sluice_pcie_out
  import sluice_pkg::*;
(
  input  logic         clk_i,
  input  logic         rst_ni,
  // 4-byte writes
  input  logic         bell_valid_i,
  output logic         bell_ready_o,
  input  logic [63:0]  bell_addr_i,
  input  logic [31:0]  bell_data_i,
  input  logic         msg_valid_i,
  output logic         msg_ready_o,
  input  logic [63:0]  msg_addr_i,
  input  logic [31:0]  msg_data_i,
  // mover; in the run domain, so answers to reads of an earlier run are thrown away
  input  logic         run_ni,
  input  host_req_t    host_req_i,
  output host_rsp_t    host_rsp_o,
  // trace; in the run domain as well, one read at a time
  input  host_req_t    trace_req_i,
  output host_rsp_t    trace_rsp_o,
  // port
  output logic         valid_o,
  input  logic         ready_i,
  output logic         we_o,
  output logic [63:0]  addr_o,         // multiple of 16
  output logic [15:0]  be_o,
  output logic [127:0] wdata_o,
  input  logic         rvalid_i,       // answers to reads, in order
  input  logic         rerr_i,
  input  logic [127:0] rdata_i,
  output logic         cnt_read_o,
  output logic         cnt_write_o
);
  localparam int unsigned ReadW = $clog2(HostReads + 1);

  logic             free, any, bell, msg, host, trace, room, trace_asked, trace_answer;
  logic [ReadW-1:0] reads_q, stale_q;  // under way in all, and of those from an earlier run
  logic             asked;
  host_req_t        request;
  logic             trace_waits_q;     // its read is under way
  logic [ReadW-1:0] trace_behind_q;    //   behind so many others

  // Rare small writes go first; none of the three can starve another for long. The trace can be starved: it loses frames then.
  assign free = !valid_o || ready_i;
  assign bell = bell_valid_i;
  assign msg  = msg_valid_i && !bell;
  assign room  = reads_q != ReadW'(HostReads);
  assign host  = host_req_i.valid && !bell && !msg && (host_req_i.we || room);
  assign trace = trace_req_i.valid && !bell && !msg && !host_req_i.valid && (trace_req_i.we || room);
  assign any   = bell || msg || host || trace;
  assign request = trace ? trace_req_i : host_req_i;
  assign bell_ready_o = free && bell;
  assign msg_ready_o  = free && msg;
  assign asked        = free && (host || trace) && !request.we;
  assign trace_asked  = asked && trace;
  assign trace_answer = trace_waits_q && trace_behind_q == '0;

  assign host_rsp_o.ready  = free && host;
  assign host_rsp_o.rvalid = rvalid_i && stale_q == '0 && !trace_answer;
  assign host_rsp_o.rerr   = rerr_i;
  assign host_rsp_o.rdata  = rdata_i;
  assign trace_rsp_o = '{ready: free && trace, rvalid: rvalid_i && stale_q == '0 && trace_answer, rerr: rerr_i, rdata: rdata_i};

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_o     <= 1'b0;
      reads_q     <= '0;
      stale_q     <= '0;
      trace_waits_q <= 1'b0;
      cnt_read_o  <= 1'b0;
      cnt_write_o <= 1'b0;
    end else begin
      if (free) valid_o <= any;
      if (asked != rvalid_i) reads_q <= asked ? reads_q + 1'b1 : reads_q - 1'b1;
      if (!run_ni) stale_q <= reads_q - ReadW'(rvalid_i);
      else if (rvalid_i && stale_q != '0) stale_q <= stale_q - 1'b1;
      if (!run_ni)                       trace_waits_q <= 1'b0;
      else if (trace_asked)              trace_waits_q <= 1'b1;
      else if (rvalid_i && trace_answer) trace_waits_q <= 1'b0;
      cnt_read_o  <= asked;
      cnt_write_o <= free && any && !asked;
    end
  end

  always_ff @(posedge clk_i) begin
    if (trace_asked)                             trace_behind_q <= reads_q - ReadW'(rvalid_i);
    else if (rvalid_i && trace_behind_q != '0)   trace_behind_q <= trace_behind_q - 1'b1;
  end

  logic [63:0] small_addr;
  logic [31:0] small_data;
  assign small_addr = bell ? bell_addr_i : msg_addr_i;
  assign small_data = bell ? bell_data_i : msg_data_i;
  always_ff @(posedge clk_i) begin
    if (free && any) begin
      we_o    <= bell || msg || request.we;
      addr_o  <= bell || msg ? {small_addr[63:4], 4'd0} : request.addr;
      be_o    <= bell || msg ? 16'h000F << {small_addr[3:2], 2'b00} : request.be;
      wdata_o <= bell || msg ? {4{small_data}} : request.wdata;
    end
  end

  logic unused;
  assign unused = ^{small_addr[1:0], request.valid};

  `SLUICE_ASSERT(AnswerOnlyWhenAsked, rvalid_i |-> reads_q != '0)
  `SLUICE_ASSERT(OneTraceRead, trace_asked |-> !trace_waits_q)
  `SLUICE_ASSERT(HostRowAligned, host_req_i.valid |-> host_req_i.addr[3:0] == '0)
endmodule : sluice_pcie_out
