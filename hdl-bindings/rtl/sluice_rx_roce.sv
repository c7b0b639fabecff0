/// Judges a RoCEv2 packet and fills in its descriptor. What comes before UDP's payload has been checked elsewhere.
module sluice_rx_roce
  import sluice_pkg::*;
  import sluice_roce_pkg::*;
  import sluice_rx_pkg::*;
(
  input  facts_t      facts_i,
  input  logic        ip4_i,        // the packet is IPv4
  input  logic [16:0] l4_len_i,     // from UDP's header to the end of the IP packet
  input  rx_desc_t    base_i,       // what all frames have in common, and the UDP header's place
  output logic        bad_o,        // version, opcode, options, lengths or padding
  output logic        bad_icrc_o,   // valid without bad_o
  output rx_roce_t    desc_o        // valid without bad_o
);
  localparam logic [16:0] Fixed = 17'd24; // UDP, BTH, ICRC

  // Words of `facts_i.l4`: 0 and 1 UDP, 2 to 4 BTH, then what its opcode asks for.
  logic [31:0] bth;
  shape_t      shape;
  logic [16:0] overhead;

  assign bth      = facts_i.l4[2];
  assign shape    = shape_of(bth[31:24]);
  assign overhead = Fixed + {12'h0, shape.words, 2'b00} + {15'h0, bth[21:20]};

  assign bad_o      = !shape.known || bth[19:16] != '0 || l4_len_i[1:0] != '0 || l4_len_i < overhead ||
                      (ip4_i && facts_i.l3_words != 4'd5);
  assign bad_icrc_o = facts_i.icrc != IcrcResidue;

  always_comb begin
    desc_o                = rx_roce_t'(base_i);
    desc_o.flags.roce     = 1'b1;
    desc_o.flags.l4_ok    = 1'b1;
    desc_o.opcode         = bth[31:24];
    desc_o.payload_offset = base_i.l4_offset + 8'd20 + {3'b0, shape.words, 2'b00};
    desc_o.payload_len    = 16'(l4_len_i - overhead);
    desc_o.pkey           = bth[15:0];
    desc_o.pad            = bth[21:20];
    desc_o.solicited      = bth[23];
    desc_o.ack_req        = facts_i.l4[4][31];
    desc_o.fecn           = facts_i.l4[3][31];
    desc_o.becn           = facts_i.l4[3][30];
    desc_o.zero4          = '0;
    desc_o.dest_qp        = facts_i.l4[3][23:0];
    desc_o.psn            = facts_i.l4[4][23:0];
    if (shape.word) desc_o.word = shape.reth ? facts_i.l4[9] : facts_i.l4[5];
    if (shape.deth) desc_o.va_lo = {8'h0, facts_i.l4[6][23:0]};
    if (shape.reth) {desc_o.va_hi, desc_o.va_lo, desc_o.rkey, desc_o.dma_len} =
                    {facts_i.l4[5], facts_i.l4[6], facts_i.l4[7], facts_i.l4[8]};
  end

  logic unused;
  assign unused = ^{facts_i, bth[22]};
endmodule : sluice_rx_roce
