/// CRC32C (RFC 3720 appendix B.4) over a few header bytes that a core feeds, four or one a clock.
module sluice_crc_unit (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic        init_i,
  input  logic        feed_i,
  input  logic        byte_i,   // feed bits 7:0 only
  input  logic [31:0] data_i,   // bits 7:0 first
  output logic [31:0] result_o  // final form
);
  localparam logic [31:0] Poly = 32'h82F6_3B78; // reflected

  logic [31:0] crc_q;

  function automatic logic [31:0] shift8(input logic [31:0] crc);
    shift8 = crc;
    for (int i = 0; i < 8; i++) shift8 = (shift8 >> 1) ^ (shift8[0] ? Poly : 32'd0);
  endfunction

  assign result_o = ~crc_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) crc_q <= '1;
    else if (init_i) crc_q <= '1;
    else if (feed_i && byte_i) crc_q <= shift8(crc_q ^ 32'(data_i[7:0]));
    else if (feed_i) crc_q <= shift8(shift8(shift8(shift8(crc_q ^ data_i))));
  end
endmodule : sluice_crc_unit
