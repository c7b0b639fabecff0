/// The Internet checksum (RFC 1071) over 16-byte beats.
package sluice_sum_pkg;
  /// Lanes of beat `beat` that lie at or after byte position `at`.
  function automatic logic [15:0] lanes_from(input logic [9:0] beat, input logic [16:0] at);
    if ({3'b0, beat, 4'h0} >= at) return 16'hFFFF;
    return ({3'b0, beat} == at[16:4]) ? 16'hFFFF << at[3:0] : 16'h0;
  endfunction

  /// The ones' complement sum of a beat's 16-bit words, first byte high, over the lanes in `lanes`; not folded.
  function automatic logic [18:0] sum_words(input logic [127:0] data, input logic [15:0] lanes);
    logic [18:0] sum;
    sum = '0;
    for (int i = 0; i < 8; i++) begin
      sum += {3'b0, lanes[2*i] ? data[16*i+:8] : 8'h0, lanes[2*i+1] ? data[16*i+8+:8] : 8'h0};
    end
    return sum;
  endfunction

  /// A sum with its carries brought around.
  function automatic logic [15:0] fold(input logic [31:0] sum);
    logic [16:0] once;
    once = {1'b0, sum[31:16]} + {1'b0, sum[15:0]};
    return once[15:0] + {15'h0, once[16]};
  endfunction
endpackage : sluice_sum_pkg
