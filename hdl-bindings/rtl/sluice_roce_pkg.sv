/// RoCEv2 on the wire (InfiniBand Architecture, volume 1, sections 9.2 and 9.3, annex A17): opcodes, sizes, and the invariant CRC.
package sluice_roce_pkg;
  import sluice_crc_pkg::*;

  localparam logic [15:0] UdpPort = 16'd4791;

  /// Opcodes of BTH: reliable connection, the datagrams of management, congestion notification.
  typedef enum logic [7:0] {
    OpSendFirst             = 8'h00,
    OpSendMiddle            = 8'h01,
    OpSendLast              = 8'h02,
    OpSendLastImmediate     = 8'h03,
    OpSendOnly              = 8'h04,
    OpSendOnlyImmediate     = 8'h05,
    OpWriteFirst            = 8'h06,
    OpWriteMiddle           = 8'h07,
    OpWriteLast             = 8'h08,
    OpWriteLastImmediate    = 8'h09,
    OpWriteOnly             = 8'h0A,
    OpWriteOnlyImmediate    = 8'h0B,
    OpReadRequest           = 8'h0C,
    OpReadResponseFirst     = 8'h0D,
    OpReadResponseMiddle    = 8'h0E,
    OpReadResponseLast      = 8'h0F,
    OpReadResponseOnly      = 8'h10,
    OpAcknowledge           = 8'h11,
    OpAtomicAcknowledge     = 8'h12,
    OpCompareSwap           = 8'h13,
    OpFetchAdd              = 8'h14,
    OpSendLastInvalidate    = 8'h16,
    OpSendOnlyInvalidate    = 8'h17,
    OpDatagram              = 8'h64,
    OpCnp                   = 8'h81
  } opcode_e;

  /// What follows BTH.
  typedef struct packed {
    logic       known;
    logic       reth;
    logic       deth;
    logic       word;   // AETH, ImmDt, IETH or Q_Key is the first extended word, or the last one behind RETH
    logic [2:0] words;  // of extended headers
  } shape_t;

  function automatic shape_t shape_of(input logic [7:0] opcode);
    unique case (opcode)
      OpSendFirst, OpSendMiddle, OpSendLast, OpSendOnly, OpWriteMiddle, OpWriteLast, OpReadResponseMiddle, OpCnp:
                                              return '{known: 1'b1, words: 3'd0, default: '0};
      OpSendLastImmediate, OpSendOnlyImmediate, OpWriteLastImmediate, OpSendLastInvalidate, OpSendOnlyInvalidate,
      OpReadResponseFirst, OpReadResponseLast, OpReadResponseOnly, OpAcknowledge:
                                              return '{known: 1'b1, word: 1'b1, words: 3'd1, default: '0};
      OpDatagram:                             return '{known: 1'b1, word: 1'b1, deth: 1'b1, words: 3'd2, default: '0};
      OpAtomicAcknowledge:                    return '{known: 1'b1, word: 1'b1, words: 3'd3, default: '0};
      OpWriteFirst, OpWriteOnly, OpReadRequest: return '{known: 1'b1, reth: 1'b1, words: 3'd4, default: '0};
      OpWriteOnlyImmediate:                   return '{known: 1'b1, reth: 1'b1, word: 1'b1, words: 3'd5, default: '0};
      OpCompareSwap, OpFetchAdd:              return '{known: 1'b1, words: 3'd7, default: '0};
      default:                                return '0;
    endcase
  endfunction

  // ---- ICRC: CRC-32 of IEEE 802.3, reflected ----
  localparam matrix_t IcrcMatrix = make_matrix(32'hEDB8_8320);
  /// The register after the 8 bytes of ones that stand for InfiniBand's own header.
  localparam logic [31:0] IcrcStart = 32'hDEBB_20E3;
  /// The register after a message with its right CRC behind it.
  localparam logic [31:0] IcrcResidue = 32'hDEBB_20E3;

  /// The register after 16 bytes, from a register of zero.
  function automatic logic [31:0] icrc_map16(input logic [127:0] message);
    logic [31:0] out;
    for (int o = 0; o < 32; o++) out[o] = ^(message & IcrcMatrix[o]);
    return out;
  endfunction
endpackage : sluice_roce_pkg
