/// MSI-X (PCI Local Bus 3.0, section 6.8.2): table, pending bits, and the writes they lead to.
/// A raised vector is pending until its message is sent, which waits for its mask to be cleared.
module sluice_msix
  import sluice_pkg::*;
(
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic        raise_i,      // pulse
  input  logic [4:0]  vector_i,
  input  logic        raise1_i,     // pulse: vector 1 (watchdog)
  output logic [31:0] pending_o,
  // table, word addressed; reads answer in the same clock
  input  logic        write_i,
  input  logic [6:0]  word_i,       // 4 words an entry: address low, high, data, control
  input  logic [31:0] wdata_i,
  output logic [31:0] rdata_o,
  // message: a 4-byte posted write
  output logic        msg_valid_o,
  input  logic        msg_ready_i,
  output logic [63:0] msg_addr_o,
  output logic [31:0] msg_data_o
);
  logic [31:0] addr_lo[MsixVectors];
  logic [31:0] addr_hi[MsixVectors];
  logic [31:0] data[MsixVectors];
  logic [31:0] masked_q, pending_q, due, lowest;
  logic [4:0]  pick, vector_q;
  logic        sending_q;

  assign pending_o = pending_q;
  assign due       = pending_q & ~masked_q;
  assign lowest    = due & (~due + 32'd1);

  always_comb begin
    pick = '0;
    if (due != '0) begin
      for (int unsigned i = 0; i < MsixVectors; i++) begin
        if (lowest[i]) pick = 5'(i);
      end
    end
  end

  always_comb begin
    unique case (word_i[1:0])
      2'd0:    rdata_o = addr_lo[word_i[6:2]];
      2'd1:    rdata_o = addr_hi[word_i[6:2]];
      2'd2:    rdata_o = data[word_i[6:2]];
      default: rdata_o = {31'd0, masked_q[word_i[6:2]]};
    endcase
  end

  assign msg_valid_o = sending_q;
  assign msg_addr_o  = {addr_hi[vector_q], addr_lo[vector_q]};
  assign msg_data_o  = data[vector_q];

  always_ff @(posedge clk_i) begin
    if (write_i && word_i[1:0] == 2'd0) addr_lo[word_i[6:2]] <= {wdata_i[31:2], 2'b00};
    if (write_i && word_i[1:0] == 2'd1) addr_hi[word_i[6:2]] <= wdata_i;
    if (write_i && word_i[1:0] == 2'd2) data[word_i[6:2]] <= wdata_i;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      masked_q  <= '1;
      pending_q <= '0;
      sending_q <= 1'b0;
      vector_q  <= '0;
    end else begin
      if (write_i && word_i[1:0] == 2'd3) masked_q[word_i[6:2]] <= wdata_i[0];
      if (!sending_q && due != '0) begin
        sending_q       <= 1'b1;
        vector_q        <= pick;
        pending_q[pick] <= 1'b0;
      end else if (msg_ready_i) begin
        sending_q <= 1'b0;
      end
      if (raise_i) pending_q[vector_i] <= 1'b1;
      if (raise1_i) pending_q[1] <= 1'b1;
    end
  end
endmodule : sluice_msix
