/// The headers of one packet of a RoCE job: BTH and what follows it, byte 0 first on the wire.
module sluice_tx_roce
  import sluice_pkg::*;
  import sluice_roce_pkg::*;
(
  input  tx_roce_t         job_i,
  input  logic [23:0]      psn_i,    // of this packet
  input  logic             first_i,  // first of its message
  input  logic             last_i,   // last of its message
  input  logic             end_i,    // last of its job
  input  logic             nth_i,    // `ack_every` asks for an acknowledgment
  input  logic [1:0]       pad_i,    // bytes of padding behind its payload
  output logic [2:0]       ext_o,    // words behind BTH: 0, 1, 2 or 4
  output logic [27:0][7:0] head_o
);
  typedef logic [3:0][31:0] words_t; // word 3 first on the wire

  opcode_e     opcode;
  words_t      ext, reth;
  logic        cnp, ack;
  logic [31:0] word0, word1, word2;

  function automatic opcode_e place(input opcode_e only, input opcode_e first, input opcode_e middle, input opcode_e last);
    return first_i ? (last_i ? only : first) : (last_i ? last : middle);
  endfunction

  assign reth = {job_i.va_hi, job_i.va_lo, job_i.word, job_i.dma_len};
  assign cnp  = job_i.message == RoceCnp;
  assign ack  = (end_i && job_i.ack_last) || nth_i;

  always_comb begin
    ext   = '0;
    ext_o = 3'd0;
    unique case (job_i.message)
      RoceSend: opcode = place(OpSendOnly, OpSendFirst, OpSendMiddle, OpSendLast);
      RoceSendInvalidate: begin
        opcode = place(OpSendOnlyInvalidate, OpSendFirst, OpSendMiddle, OpSendLastInvalidate);
        ext[3] = job_i.word;
        ext_o  = last_i ? 3'd1 : 3'd0;
      end
      RoceWrite: begin
        opcode = place(OpWriteOnly, OpWriteFirst, OpWriteMiddle, OpWriteLast);
        ext    = reth;
        ext_o  = first_i ? 3'd4 : 3'd0;
      end
      RoceReadRequest: begin
        opcode = OpReadRequest;
        ext    = reth;
        ext_o  = 3'd4;
      end
      RoceReadResponse: begin
        opcode = place(OpReadResponseOnly, OpReadResponseFirst, OpReadResponseMiddle, OpReadResponseLast);
        ext[3] = job_i.word;
        ext_o  = (first_i || last_i) ? 3'd1 : 3'd0;
      end
      RoceAcknowledge: begin
        opcode = OpAcknowledge;
        ext[3] = job_i.word;
        ext_o  = 3'd1;
      end
      RoceCnp: begin
        opcode = OpCnp;
        ext_o  = 3'd4; // 16 bytes of zeros (A17.9.3)
      end
      default: begin
        opcode = OpDatagram;
        ext    = {job_i.word, job_i.va_lo, 64'h0};
        ext_o  = 3'd2;
      end
    endcase
  end

  assign word0 = {opcode, end_i && job_i.solicited, 1'b0, pad_i, 4'h0, 16'hFFFF}; // MigReq 0, TVer 0, default P_Key
  assign word1 = {1'b0, cnp, 6'h0, job_i.dest_qp};                                // BECN
  assign word2 = {ack, 7'h0, psn_i};
  assign head_o = {<<8{word0, word1, word2, ext}};

  logic unused;
  assign unused = ^job_i;
endmodule : sluice_tx_roce
