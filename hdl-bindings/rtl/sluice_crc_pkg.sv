/// What CRCs of 32 bits over 16 bytes a clock have in common: their polynomial as a matrix.
package sluice_crc_pkg;
  /// Rows of the map from 16 message bytes to the register: bit k of row o says that message bit k (bit 0 of byte 0
  /// first on the wire) flips register bit o.
  typedef logic [31:0][127:0] matrix_t;

  /// The matrix of a polynomial in reflected form.
  function automatic matrix_t make_matrix(input logic [31:0] poly);
    matrix_t     rows;
    logic [31:0] column;
    rows   = '0;
    column = poly; // what the last bit leaves; each earlier bit is shifted once more
    for (int k = 127; k >= 0; k--) begin
      for (int o = 0; o < 32; o++) rows[o][k] = column[o];
      column = (column >> 1) ^ (column[0] ? poly : 32'h0);
    end
    return rows;
  endfunction
endpackage : sluice_crc_pkg
