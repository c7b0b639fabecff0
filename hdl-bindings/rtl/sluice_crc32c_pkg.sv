/// CRC32C (Castagnoli, RFC 3720 appendix B.4), 1 to 16 bytes in one step.
/// States are the running register (all ones at the start); the final form is its complement.
package sluice_crc32c_pkg;
  import sluice_crc_pkg::*;

  localparam logic [31:0] Poly = 32'h82F6_3B78; // reflected

  localparam matrix_t Matrix = make_matrix(Poly);

  /// The register after 16 bytes, from a register of zero.
  function automatic logic [31:0] map16(input logic [127:0] message);
    logic [31:0] out;
    for (int o = 0; o < 32; o++) out[o] = ^(message & Matrix[o]);
    return out;
  endfunction

  /// The register after the low `count` bytes (0 to 16) of `data`; the bytes above are zero.
  /// Leading zero bytes leave a zero register alone, so a short message is moved to the end of a 16-byte one.
  function automatic logic [31:0] step(
    input logic [31:0] state, input logic [127:0] data, input logic [4:0] count
  );
    logic [127:0] mixed;
    logic [31:0]  beyond; // register bytes that a message under 4 bytes does not reach
    mixed  = data ^ {96'h0, state};
    beyond = (count < 5'd4) ? state >> {count[1:0], 3'b000} : 32'h0;
    return map16(mixed << {5'd16 - count, 3'b000}) ^ beyond;
  endfunction
endpackage : sluice_crc32c_pkg
