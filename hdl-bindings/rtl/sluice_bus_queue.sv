`include "sluice_assert.svh"

/// One tile's requests waiting in the uncore, in order. The tile keeps count of the places.
module sluice_bus_queue
  import sluice_pkg::*;
(
  input  logic               clk_i,
  input  logic               rst_ni,
  input  logic               valid_i,
  input  logic [1:0]         class_i,
  input  logic               we_i,
  input  logic [3:0]         be_i,
  input  logic [PmAddrW-1:0] addr_i,
  input  logic [31:0]        wdata_i,
  output logic               valid_o,  // there is a head
  output bus_class_e         class_o,  // of the head, as all below
  output logic               we_o,
  output logic [3:0]         be_o,
  output logic [PmAddrW-1:0] addr_o,
  output logic [31:0]        wdata_o,
  input  logic               pop_i
);
  localparam int unsigned PtrW = $clog2(BusDepth);

  typedef struct packed {
    logic [1:0]         to;
    logic               we;
    logic [3:0]         be;
    logic [PmAddrW-1:0] addr;
    logic [31:0]        wdata;
  } request_t;

  request_t      mem[BusDepth];
  request_t      head;
  logic [PtrW:0] head_q, tail_q;

  assign valid_o = head_q != tail_q;
  assign head    = mem[head_q[PtrW-1:0]];
  assign class_o = bus_class_e'(head.to);
  assign we_o    = head.we;
  assign be_o    = head.be;
  assign addr_o  = head.addr;
  assign wdata_o = head.wdata;

  always_ff @(posedge clk_i) begin
    if (valid_i) mem[tail_q[PtrW-1:0]] <= '{to: class_i, we: we_i, be: be_i, addr: addr_i, wdata: wdata_i};
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      head_q <= '0;
      tail_q <= '0;
    end else begin
      if (valid_i) tail_q <= tail_q + 1'b1;
      if (pop_i) head_q <= head_q + 1'b1;
    end
  end

  `SLUICE_ASSERT(NoOverflow, valid_i |-> tail_q - head_q != (PtrW+1)'(BusDepth))
  `SLUICE_ASSERT(PopOnlyHead, pop_i |-> valid_o)
endmodule : sluice_bus_queue
