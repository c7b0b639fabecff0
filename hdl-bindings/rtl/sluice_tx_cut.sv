/// Takes transmit jobs, checks them, and cuts each into frames: per frame one `frame_t` and the pieces to gather.
module sluice_tx_cut
  import sluice_pkg::*;
  import sluice_tx_pkg::*;
(
  input  logic               clk_i,
  input  logic               rst_ni,
  input  logic               job_valid_i,
  output logic               job_ready_o,
  input  logic [CoreW-1:0]   job_core_i,
  input  tx_job_t            job_i,
  output logic               frame_valid_o,
  input  logic               frame_ready_i,
  output frame_t             frame_o,
  output logic               piece_valid_o,
  input  logic               piece_ready_i,
  output logic [PmAddrW-1:0] piece_addr_o,
  output logic [17:0]        piece_len_o,
  output logic               piece_last_o,
  output logic               piece_blank_o,  // not in memory: the bytes are `piece_data_o`
  output logic [127:0]       piece_data_o
);
  localparam logic [13:0] FrameMax = 14'(RxFrameMax);

  // ---- a job waits here while the one before is cut: its length is added up and its fields are checked ----
  logic             wait_valid_q;
  tx_job_t          wait_q;
  logic [CoreW-1:0] wait_core_q;
  logic             load;
  logic [19:0]      total;
  logic             bad;

  assign job_ready_o = !wait_valid_q || load;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni)          wait_valid_q <= 1'b0;
    else if (job_ready_o) wait_valid_q <= job_valid_i;
  end
  always_ff @(posedge clk_i) begin
    if (job_ready_o && job_valid_i) begin
      wait_q      <= job_i;
      wait_core_q <= job_core_i;
    end
  end

  // A RoCE job is brought into the form of others: offsets and payload per frame.
  tx_roce_t    roce;
  tx_job_t     next;
  logic        bad_roce, whole; // the payload is whole packets
  logic        coupled;         // a WRITE and behind it a SEND, of the last gather entry
  logic [1:0]  last_at;
  logic [17:0] send_len;
  logic [19:0] write;           // payload of the WRITE
  assign roce = tx_roce_t'(wait_q);

  always_comb begin
    next = wait_q;
    if (wait_q.kind_roce) begin
      next.l3_offset  = roce.vlan ? 8'd18 : 8'd14;
      next.l4_offset  = next.l3_offset + (roce.ipv6 ? 8'd40 : 8'd20);
      next.header_len = next.l4_offset + 8'd8;
      next.mss        = 16'd128 << roce.mtu_code;
    end
    coupled  = roce.message == RoceWriteSend || roce.message == RoceWriteSendInvalidate;
    last_at  = 2'(roce.gather_len - 1'b1);
    send_len = wait_q.gather[last_at].len;
    write    = total - 20'(send_len);
    whole    = (total & (20'(next.mss) - 1'b1)) == '0;
    bad_roce = roce.kind_tcp || roce.mtu_code == 3'd0 || roce.mtu_code > 3'd5;
    unique case (roce.message)
      RoceSend, RoceSendInvalidate, RoceWrite, RoceReadResponse: bad_roce |= !roce.ends && (!whole || total == '0);
      RoceReadRequest, RoceAcknowledge, RoceCnp:                 bad_roce |= !(roce.starts && roce.ends) || total != '0;
      RoceWriteSend, RoceWriteSendInvalidate:
        bad_roce |= !roce.ends || roce.gather_len == '0 || write == '0 || send_len == '0 || 20'(send_len) > 20'(next.mss);
      RoceDatagram:                       bad_roce |= !(roce.starts && roce.ends) || total > 20'(next.mss);
      default:                            bad_roce = 1'b1;
    endcase
  end

  logic [8:0]  ip_end, l4_end; // least place of the L4 header; end of the part of it that is written
  logic [19:0] segment;
  logic        bad_offsets, bad_tcp, bad_raw;

  always_comb begin
    total = '0;
    for (int i = 0; i < 4; i++) if (3'(i) < wait_q.gather_len) total += 20'(wait_q.gather[i].len);

    ip_end = {1'b0, wait_q.l3_offset} + 9'd20;
    if (wait_q.kind_tcp)                        l4_end = wait_q.timestamps ? 9'd32 : 9'd20;
    else if (wait_q.raw_checksum == RawTcp)     l4_end = 9'd18;
    else if (wait_q.raw_checksum == RawUdp)     l4_end = 9'd8;
    else                                        l4_end = 9'd4;
    l4_end += {1'b0, wait_q.l4_offset};
    bad_offsets = wait_q.l3_offset[0] || wait_q.l4_offset[0] || {1'b0, wait_q.l4_offset} < ip_end;

    segment = (total < 20'(wait_q.mss)) ? total : 20'(wait_q.mss);
    bad_tcp = wait_q.header_len == '0 || wait_q.header_len > 8'd128 || wait_q.mss == '0 || bad_offsets ||
              l4_end > {1'b0, wait_q.header_len} || segment + 20'(wait_q.header_len) > 20'(FrameMax);
    bad_raw = total < 20'(RxFrameMin) || total > 20'(FrameMax) ||
              (wait_q.raw_checksum != RawNone && (bad_offsets || 20'(l4_end) > total));
    bad     = wait_q.gather_len > 3'd4 || (wait_q.kind_roce ? bad_roce : wait_q.kind_tcp ? bad_tcp : bad_raw);
  end

  // ---- the job being cut ----
  typedef enum logic [2:0] {
    Empty,   // no job
    Start,   // announces a frame, and hands over its template if it has one
    Head,    // hands over RoCE's headers
    HeadRest,
    Pieces,  // hands over payload pieces
    Tail     // hands over RoCE's padding and the place of the ICRC
  } state_e;

  state_e             state_q;
  tx_job_t            job_q;
  logic [CoreW-1:0]   core_q;
  logic               bad_q, first_q;
  logic [19:0]        left_q;        // payload bytes not yet in a frame
  logic [13:0]        frame_left_q;  // payload bytes of this frame not yet handed over
  logic [1:0]         idx_q;         // gather entry
  logic [PmAddrW-1:0] addr_q;        // the rest of it
  logic [17:0]        entry_q;

  logic [17:0]   send_len_q;
  roce_message_e send_q;       // how it goes
  logic          send_begins;
  logic        send_follows_q; // the RDMA WRITE of a coupled job is being cut
  logic        train, last_packet, roce_go, last_frame, start_go, piece_go, piece_ends, entry_ends, frame_ends, job_ends;
  logic [13:0] payload, piece;
  logic [7:0]  held_back;   // control bits that do not belong on this frame

  assign train      = job_q.kind_tcp || job_q.kind_roce;
  assign last_packet = !train || left_q <= 20'(job_q.mss); // of this message, as far as the job has it
  assign last_frame  = last_packet && !send_follows_q;
  assign payload    = last_packet ? left_q[13:0] : job_q.mss[13:0];
  assign held_back  = (last_frame ? 8'h00 : 8'h09) | (first_q ? 8'h00 : 8'h80); // FIN, PSH; CWR

  // ---- RoCE: headers of the frame that begins ----
  tx_roce_t         roce_q;      // fields of the job that stay as they are
  logic [7:0]       since_q;     // packets since an acknowledgment was asked for
  logic             nth;
  logic [1:0]       pad, pad_q;
  logic [2:0]       ext, ext_q;
  logic [27:0][7:0] head, head_q;
  logic [13:0]      around;      // bytes of the frame besides its payload
  assign nth    = roce_q.ack_every != '0 && since_q == roce_q.ack_every - 1'b1;
  assign pad    = 2'd0 - payload[1:0];
  assign around = 14'(job_q.header_len) + (job_q.kind_roce ? 14'd16 + {9'h0, ext, 2'b00} + 14'(pad) : 14'd0);

  sluice_tx_roce u_roce (
    .job_i(roce_q), .psn_i(job_q.seq[23:0]), .first_i(roce_q.starts && first_q), .last_i(roce_q.ends && last_packet),
    .end_i(last_frame), .nth_i(nth), .pad_i(pad), .ext_o(ext), .head_o(head)
  );

  always_ff @(posedge clk_i) begin
    if (load) begin
      roce_q  <= roce;
      since_q <= '0;
      if (coupled) roce_q.message <= RoceWrite;
    end else if (send_begins) begin
      roce_q.message <= send_q;
      roce_q.starts  <= 1'b1;
    end else if (start_go) begin
      since_q <= nth ? '0 : since_q + 1'b1;
      head_q  <= head;
      ext_q   <= ext;
      pad_q   <= pad;
    end
  end

  always_comb begin
    frame_o = '{
      bad: bad_q, job_last: last_frame || bad_q, core: core_q, tcp: job_q.kind_tcp, roce: job_q.kind_roce,
      sum: job_q.kind_tcp ? RawTcp : job_q.kind_roce ? RawNone : raw_checksum_e'(job_q.raw_checksum),
      timestamps: job_q.timestamps && job_q.kind_tcp,
      l3: job_q.l3_offset, l4: job_q.l4_offset,
      frame_len: payload + (train ? around : '0),
      flags: job_q.tcp_flags & ~held_back, window: job_q.window, seq: job_q.seq, ack: job_q.ack,
      ts_val: job_q.ts_val, ts_ecr: job_q.ts_ecr
    };
  end

  // Template and frame are handed over in the same clock, or not at all.
  logic with_template;
  assign with_template = train && !bad_q;
  assign frame_valid_o = state_q == Start && (!with_template || piece_ready_i);
  assign start_go      = frame_valid_o && frame_ready_i;

  assign entry_ends = entry_q <= 18'(frame_left_q);
  assign piece      = entry_ends ? entry_q[13:0] : frame_left_q;
  assign piece_ends = 18'(frame_left_q) <= entry_q;

  always_comb begin
    piece_valid_o = state_q != Empty;
    piece_addr_o  = '0;
    piece_blank_o = 1'b1;
    piece_data_o  = '0;
    piece_last_o  = 1'b0;
    unique case (state_q)
      Start: begin
        piece_valid_o = with_template && frame_ready_i;
        piece_addr_o  = job_q.template_addr;
        piece_len_o   = 18'(job_q.header_len);
        piece_last_o  = payload == '0 && !job_q.kind_roce;
        piece_blank_o = 1'b0;
      end
      Head: begin
        piece_len_o  = (ext_q == '0) ? 18'd12 : 18'd16;
        piece_data_o = head_q[15:0];
      end
      HeadRest: begin
        piece_len_o  = {13'h0, ext_q - 1'b1, 2'b00};
        piece_data_o = {32'h0, head_q[27:16]};
      end
      Tail: begin
        piece_len_o  = 18'd4 + 18'(pad_q);
        piece_last_o = 1'b1;
      end
      default: begin
        piece_addr_o  = addr_q;
        piece_len_o   = 18'(piece);
        piece_last_o  = piece_ends && !job_q.kind_roce;
        piece_blank_o = 1'b0;
      end
    endcase
  end
  assign piece_go   = state_q == Pieces && piece_ready_i;
  assign roce_go    = (state_q == Head || state_q == HeadRest || state_q == Tail) && piece_ready_i;
  assign frame_ends = (start_go && (bad_q || (payload == '0 && !job_q.kind_roce))) ||
                      (piece_go && piece_ends && !job_q.kind_roce) || (roce_go && state_q == Tail);
  assign job_ends    = frame_ends && (state_q == Start ? frame_o.job_last : left_q == '0 && !send_follows_q);
  assign send_begins = frame_ends && send_follows_q && left_q == '0 && !bad_q;
  assign load       = wait_valid_q && (state_q == Empty || job_ends);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni)         state_q <= Empty;
    else if (load)       state_q <= Start;
    else if (job_ends)   state_q <= Empty;
    else if (frame_ends) state_q <= Start;
    else if (start_go)   state_q <= job_q.kind_roce ? Head : Pieces;
    else if (roce_go && state_q == Head && ext_q > 3'd1) state_q <= HeadRest;
    else if (roce_go)    state_q <= (frame_left_q == '0) ? Tail : Pieces;
    else if (piece_go && piece_ends) state_q <= Tail;
  end

  always_ff @(posedge clk_i) begin
    if (load) begin
      job_q   <= next;
      core_q  <= wait_core_q;
      bad_q   <= bad;
      first_q <= 1'b1;
      left_q  <= (wait_q.kind_roce && coupled) ? write : total;
      send_follows_q <= wait_q.kind_roce && coupled && !bad;
      send_len_q     <= send_len;
      send_q         <= (roce.message == RoceWriteSend) ? RoceSend : RoceSendInvalidate;
      idx_q   <= '0;
      addr_q  <= wait_q.gather[0].addr;
      entry_q <= wait_q.gather[0].len;
    end else if (send_begins) begin
      // Its entry is the one that the gathering has come to.
      send_follows_q <= 1'b0;
      first_q        <= 1'b1;
      left_q         <= 20'(send_len_q);
    end else if (start_go) begin
      first_q      <= 1'b0;
      left_q       <= left_q - 20'(payload);
      frame_left_q <= payload;
      job_q.seq    <= job_q.seq + (job_q.kind_roce ? 32'd1 : 32'(payload));
    end else if (piece_go) begin
      frame_left_q <= frame_left_q - piece;
      if (entry_ends) begin
        idx_q   <= idx_q + 1'b1;
        addr_q  <= job_q.gather[idx_q + 1'b1].addr;
        entry_q <= job_q.gather[idx_q + 1'b1].len;
      end else begin
        addr_q  <= addr_q + PmAddrW'(piece);
        entry_q <= entry_q - 18'(piece);
      end
    end
  end

  logic unused;
  assign unused = ^{job_q.zero3, job_q.zero2, job_q.zero1, job_q.gather_len, job_q.gather, job_q.mss, left_q, wait_q, roce};
endmodule : sluice_tx_cut
