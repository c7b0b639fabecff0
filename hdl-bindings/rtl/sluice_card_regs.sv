`include "sluice_assert.svh"

/// The card registers (bar0.rdl) for host and cores: the generated register block, the tables beside it (steering, doorbell
/// slots, MSI-X) and what follows from writes. One access at a time, in turn.
module sluice_card_regs
  import sluice_pkg::*;
#(
  parameter int unsigned NumCores = 2,
  parameter int unsigned TcmBytes = 32'h8_0000,
  parameter int unsigned MemoryBytes = PmBytes,
  parameter logic [31:0] Build = 32'd0
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  // accesses: request and payload stay until done
  input  logic               host_req_i,
  input  logic               host_we_i,
  input  logic [15:0]        host_addr_i,
  input  logic [3:0]         host_be_i,
  input  logic [31:0]        host_wdata_i,
  output logic               host_done_o,
  input  logic               core_req_i,
  input  logic               core_we_i,
  input  logic [15:0]        core_addr_i,
  input  logic [31:0]        core_wdata_i,
  output logic               core_done_o,
  output logic [31:0]        rdata_o,            // with either done
  // run and load
  output logic               run_o,              // CTRL.run
  output logic               boot_o,             // CTRL.boot
  input  logic               running_i,          // the cores run
  input  logic               strap_boot_i,       // constant: boot after power-on
  output logic [NumCores-1:0] load_valid_o,      // one bit per core
  output logic [19:0]        load_addr_o,
  output logic [31:0]        load_data_o,
  // host queue, port, core window
  output logic               host_event_o,       // pulse: SQ_TAIL or QUEUE_ENABLE was written
  output logic [47:0]        mac_o,
  output logic               peek_o,             // pulse
  output logic [CoreW-1:0]   peek_core_o,
  output logic [3:0]         peek_select_o,
  input  logic [31:0]        peek_value_i,
  // tables
  input  logic [6:0]         steer_index_i,
  output logic [CoreW-1:0]   steer_core_o,       // one clock later
  input  logic [5:0]         slot_i,
  output logic [63:0]        slot_addr_o,        // same clock
  // serial flash and fuses
  output logic               flash_sck_o,
  output logic               flash_cs_no,
  output logic [3:0]         flash_io_o,
  output logic [3:0]         flash_io_oe_o,
  input  logic [3:0]         flash_io_i,
  input  logic [31:0]        board_i,
  input  logic [7:0]         fuse_security_i,
  input  logic [7:0]         fuse_keys_i,
  input  logic [255:0]       fuse_root_key_i,
  output logic               burn_security_o,    // pulse: one up
  output logic               burn_keys_o,
  // interrupts
  input  logic [31:0]        expired_i,          // watchdogs, levels
  output logic               msg_valid_o,
  input  logic               msg_ready_i,
  output logic [63:0]        msg_addr_o,
  output logic [31:0]        msg_data_o,
  // counters: pulses
  input  logic               cnt_rx_frame_i,
  input  logic [13:0]        cnt_rx_bytes_i,
  input  logic [NumRxDrops-1:0] cnt_drop_i,
  input  logic               cnt_pause_i,
  input  logic [15:0]        pause_quanta_i,
  input  logic               cnt_tx_frame_i,
  input  logic [13:0]        cnt_tx_bytes_i,
  input  logic               cnt_tx_bad_i,
  input  logic               cnt_move_i,
  input  logic [17:0]        cnt_move_bytes_i,
  input  logic               cnt_in_read_i,
  input  logic               cnt_in_write_i,
  input  logic               cnt_out_read_i,
  input  logic               cnt_out_write_i,
  // trace
  output trace_cfg_t         trace_cfg_o,
  input  trace_status_t      trace_status_i,
  input  logic [63:0]        clocks_i
);
  // ---- one access at a time: choose, execute, answer -----------------------------------------------------------------------

  logic        req_q, we_q, host_q;
  logic [15:0] addr_q;
  logic [31:0] wdata_q, biten_q, rdata;
  logic [3:0]  peek_q;                           // a core's counter is being fetched
  logic        rd_ack, wr_ack, pick_host, was_host_q, host_done_q, core_done_q, reset_q;

  assign pick_host   = host_req_i && !(core_req_i && was_host_q);
  assign host_done_o = host_done_q;
  assign core_done_o = core_done_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      req_q       <= 1'b0;
      we_q        <= 1'b0;
      host_q      <= 1'b0;
      addr_q      <= '0;
      was_host_q  <= 1'b0;
      host_done_q <= 1'b0;
      core_done_q <= 1'b0;
    end else begin
      host_done_q <= req_q && host_q;
      core_done_q <= req_q && !host_q;
      // In the clock of the answer the requester's request is still up.
      req_q <= (host_req_i || core_req_i) && !req_q && !host_done_q && !core_done_q && !reset_q && peek_q == '0;
      if (!req_q) begin
        host_q <= pick_host;
        we_q   <= pick_host ? host_we_i : core_we_i;
        addr_q <= pick_host ? {host_addr_i[15:2], 2'b00} : {core_addr_i[15:2], 2'b00};
      end
      if (req_q) was_host_q <= host_q;
    end
  end
  always_ff @(posedge clk_i) begin
    if (!req_q) begin
      wdata_q <= pick_host ? host_wdata_i : core_wdata_i;
      for (int i = 0; i < 4; i++) biten_q[8*i+:8] <= {8{!pick_host || host_be_i[i]}};
    end
    if (req_q) rdata_o <= rd_ack ? rdata : '0;
  end

  // ---- register block ------------------------------------------------------------------------------------------------------

  sluice_bar0_pkg::sluice_bar0__in_t  hwif_in;
  sluice_bar0_pkg::sluice_bar0__out_t hwif_out;
  logic regs_rst_n_q;

  sluice_bar0 u_regs (
    .clk(clk_i), .arst_n(regs_rst_n_q),
    .s_cpuif_req(req_q), .s_cpuif_req_is_wr(we_q), .s_cpuif_addr(addr_q), .s_cpuif_wr_data(wdata_q),
    .s_cpuif_wr_biten(biten_q), .s_cpuif_req_stall_wr(), .s_cpuif_req_stall_rd(), .s_cpuif_rd_ack(rd_ack),
    .s_cpuif_rd_err(), .s_cpuif_rd_data(rdata), .s_cpuif_wr_ack(wr_ack), .s_cpuif_wr_err(), .hwif_in, .hwif_out
  );

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      regs_rst_n_q <= 1'b0;
      reset_q      <= 1'b1;
    end else begin
      regs_rst_n_q <= !hwif_out.CTRL.soft_reset.value;
      reset_q      <= hwif_out.CTRL.soft_reset.value || !regs_rst_n_q;
    end
  end

  assign hwif_in.BUILD.build.next          = Build;
  assign hwif_in.NUMBERS.cores.next        = 8'(NumCores);
  assign hwif_in.NUMBERS.queues.next       = 8'd1;
  assign hwif_in.NUMBERS.vectors.next      = 8'(MsixVectors);
  assign hwif_in.NUMBERS.doorbells.next    = 8'(DoorbellSlots);
  assign hwif_in.TCM_SIZE.bytes.next       = TcmBytes;
  assign hwif_in.PM_SIZE.bytes.next        = MemoryBytes;
  assign hwif_in.FW_STATUS.status.hwclr    = !running_i;
  assign hwif_in.PAUSE_TIME.quanta.next    = pause_quanta_i;
  assign hwif_in.RX_FRAMES.count.incr      = cnt_rx_frame_i;
  assign hwif_in.RX_BYTES.bytes.incr       = cnt_rx_frame_i;
  assign hwif_in.RX_BYTES.bytes.incrvalue  = 18'(cnt_rx_bytes_i);
  assign hwif_in.TX_FRAMES.count.incr      = cnt_tx_frame_i;
  assign hwif_in.TX_BYTES.bytes.incr       = cnt_tx_frame_i;
  assign hwif_in.TX_BYTES.bytes.incrvalue  = 18'(cnt_tx_bytes_i);
  assign hwif_in.TX_BAD_JOBS.count.incr    = cnt_tx_bad_i;
  assign hwif_in.MOVES.count.incr          = cnt_move_i;
  assign hwif_in.MOVE_BYTES.bytes.incr     = cnt_move_i;
  assign hwif_in.MOVE_BYTES.bytes.incrvalue = cnt_move_bytes_i;
  assign hwif_in.PAUSE_FRAMES.count.incr   = cnt_pause_i;
  assign hwif_in.PCIE_IN_READS.count.incr   = cnt_in_read_i;
  assign hwif_in.PCIE_IN_WRITES.count.incr  = cnt_in_write_i;
  assign hwif_in.PCIE_OUT_READS.count.incr  = cnt_out_read_i;
  assign hwif_in.PCIE_OUT_WRITES.count.incr = cnt_out_write_i;
  assign hwif_in.DROP_LENGTH.count.incr     = cnt_drop_i[DropLength];
  assign hwif_in.DROP_ETHERTYPE.count.incr  = cnt_drop_i[DropEtherType];
  assign hwif_in.DROP_IPV4.count.incr       = cnt_drop_i[DropIpv4];
  assign hwif_in.DROP_IPV6.count.incr       = cnt_drop_i[DropIpv6];
  assign hwif_in.DROP_FRAGMENT.count.incr   = cnt_drop_i[DropFragment];
  assign hwif_in.DROP_CHECKSUM.count.incr   = cnt_drop_i[DropChecksum];
  assign hwif_in.DROP_NOT_FOR_US.count.incr = cnt_drop_i[DropNotForUs];
  assign hwif_in.DROP_PAUSE.count.incr      = cnt_drop_i[DropPause];
  assign hwif_in.DROP_NO_BUFFER.count.incr  = cnt_drop_i[DropNoBuffer];
  assign hwif_in.DROP_QUEUE_FULL.count.incr = cnt_drop_i[DropQueueFull];
  assign hwif_in.DROP_L4_HEADER.count.incr  = cnt_drop_i[DropL4Header];
  assign hwif_in.DROP_OVERRUN.count.incr    = cnt_drop_i[DropOverrun];
  assign hwif_in.DROP_ROCE.count.incr       = cnt_drop_i[DropRoce];
  assign hwif_in.DROP_ICRC.count.incr       = cnt_drop_i[DropIcrc];

  // ---- trace ---------------------------------------------------------------------------------------------------------------

  assign trace_cfg_o = '{
    enable: hwif_out.TRACE_CTRL.enable.value, receive: hwif_out.TRACE_CTRL.receive.value, send: hwif_out.TRACE_CTRL.send.value,
    order: hwif_out.TRACE_CTRL.order.value, snap: hwif_out.TRACE_CTRL.snap.value,
    tcp_port: hwif_out.TRACE_FILTER.tcp_port.value, udp_port: hwif_out.TRACE_FILTER.udp_port.value,
    page: {hwif_out.TRACE_BASE_HI.value.value, hwif_out.TRACE_BASE_LO.page.value}, tail: hwif_out.TRACE_TAIL.value.value
  };
  assign hwif_in.TRACE_HEAD.bytes.next       = trace_status_i.head;
  assign hwif_in.TRACE_STATUS.active.next    = trace_status_i.active;
  assign hwif_in.TRACE_STATUS.tracing.next   = trace_status_i.tracing;
  assign hwif_in.TRACE_STATUS.bus_error.next = trace_status_i.bus_error;
  assign hwif_in.TRACE_STATUS.bad_order.next = trace_status_i.bad_order;
  assign hwif_in.TRACE_LOST.frames.next      = trace_status_i.lost;
  assign hwif_in.TRACE_CLOCKS.clocks.next    = clocks_i;

  // ---- what follows from writes --------------------------------------------------------------------------------------------

  logic        load_q, irq_q;
  logic [31:0] peeked_q;
  logic [31:0] expired_q, newly_expired, pending;

  logic powered_q;

  assign run_o         = hwif_out.CTRL.run.value;
  assign boot_o        = hwif_out.CTRL.boot.value;
  assign hwif_in.CTRL.boot.next = 1'b1;
  assign hwif_in.CTRL.boot.we   = (strap_boot_i && !powered_q && regs_rst_n_q)
                                  || (hwif_out.CTRL.reboot.value && newly_expired != '0);
  assign load_addr_o   = hwif_out.LOAD_ADDR.address.value;
  assign load_data_o   = hwif_out.LOAD_DATA.data.value;
  assign load_valid_o  = load_q && !running_i ? hwif_out.LOAD_CORES.cores.value[NumCores-1:0] : '0;
  assign mac_o         = {hwif_out.MAC_HI.mac.value, hwif_out.MAC_LO.mac.value};
  assign peek_o        = peek_q[0];
  assign peek_core_o   = hwif_out.CORE_SELECT.core.value;
  assign peek_select_o = hwif_out.CORE_SELECT.counter.value;
  assign newly_expired = expired_i & ~expired_q;
  assign hwif_in.LOAD_ADDR.address.we    = load_q;
  assign hwif_in.LOAD_ADDR.address.next  = hwif_out.LOAD_ADDR.address.value + 20'd4;
  assign hwif_in.WATCHDOG.expired.next   = newly_expired;
  assign hwif_in.MSIX_PENDING.pending.next = pending;

  assign hwif_in.CORE_VALUE.value.next   = peeked_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      powered_q    <= 1'b0;
      load_q       <= 1'b0;
      irq_q        <= 1'b0;
      peek_q       <= '0;
      peeked_q     <= '0;
      host_event_o <= 1'b0;
      expired_q    <= '0;
    end else begin
      powered_q    <= powered_q || regs_rst_n_q;
      load_q       <= hwif_out.LOAD_DATA.data.swmod;
      irq_q        <= hwif_out.IRQ.vector.swmod;
      peek_q       <= {peek_q[2:0], hwif_out.CORE_SELECT.core.swmod};
      peeked_q     <= (peek_select_o == 4'd10) ? 32'(expired_i[peek_core_o]) : peek_value_i;
      host_event_o <= hwif_out.SQ_TAIL.tail.swmod || hwif_out.QUEUE_ENABLE.enable.swmod;
      expired_q    <= expired_i;
    end
  end

  // ---- serial flash, fuses -------------------------------------------------------------------------------------------------

  logic        flash_start_q, flash_busy, flash_write;
  logic [31:0] flash_rdata;

  assign flash_write = hwif_out.FLASH_BUFFER.req && hwif_out.FLASH_BUFFER.req_is_wr;
  assign hwif_in.FLASH_BUFFER.wr_ack  = flash_write;
  assign hwif_in.FLASH_BUFFER.rd_ack  = hwif_out.FLASH_BUFFER.req && !hwif_out.FLASH_BUFFER.req_is_wr;
  assign hwif_in.FLASH_BUFFER.rd_data = flash_rdata;
  assign hwif_in.FLASH_STATUS.busy.next     = flash_busy || flash_start_q;
  assign hwif_in.FLASH_STATUS.selected.next = !flash_cs_no;
  assign hwif_in.BOARD.board.next           = board_i;
  assign hwif_in.FUSES.security_version.next = fuse_security_i;
  assign hwif_in.FUSES.key_generation.next   = fuse_keys_i;
  assign hwif_in.ROOT_KEY.wr_ack  = hwif_out.ROOT_KEY.req && hwif_out.ROOT_KEY.req_is_wr;
  assign hwif_in.ROOT_KEY.rd_ack  = hwif_out.ROOT_KEY.req && !hwif_out.ROOT_KEY.req_is_wr;
  assign hwif_in.ROOT_KEY.rd_data = fuse_root_key_i[32*addr_q[4:2]+:32];
  assign burn_security_o = hwif_out.FUSE_BURN.security_version.value;
  assign burn_keys_o     = hwif_out.FUSE_BURN.key_generation.value;

  always_ff @(posedge clk_i or negedge regs_rst_n_q) begin
    if (!regs_rst_n_q) flash_start_q <= 1'b0;
    else               flash_start_q <= hwif_out.FLASH_TRANSFER.count.swmod && !flash_busy;
  end

  sluice_qspi u_flash (
    .clk_i, .rst_ni(regs_rst_n_q), .start_i(flash_start_q && hwif_out.FLASH_TRANSFER.count.value <= 9'd256),
    .count_i(hwif_out.FLASH_TRANSFER.count.value), .send_i(hwif_out.FLASH_TRANSFER.send.value),
    .receive_i(hwif_out.FLASH_TRANSFER.receive.value && !(hwif_out.FLASH_TRANSFER.quad.value && hwif_out.FLASH_TRANSFER.send.value)),
    .quad_i(hwif_out.FLASH_TRANSFER.quad.value), .hold_i(hwif_out.FLASH_TRANSFER.hold.value),
    .divider_i(hwif_out.FLASH_CLOCK.divider.value), .busy_o(flash_busy), .write_i(flash_write), .word_i(addr_q[7:2]), .wdata_i(wdata_q),
    .rdata_o(flash_rdata), .sck_o(flash_sck_o), .cs_no(flash_cs_no), .io_o(flash_io_o), .io_oe_o(flash_io_oe_o),
    .io_i(flash_io_i)
  );

  // ---- tables; they answer in the clock of the request ----------------------------------------------------------------------

  logic [CoreW-1:0] steer[SteerEntries];
  logic [31:0]      slot_lo[DoorbellSlots];
  logic [31:0]      slot_hi[DoorbellSlots];
  logic             steer_write, slot_write, msix_write;
  logic [31:0]      msix_rdata;

  assign steer_write = hwif_out.STEER.req && hwif_out.STEER.req_is_wr;
  assign slot_write  = hwif_out.DOORBELL.req && hwif_out.DOORBELL.req_is_wr;
  assign msix_write  = hwif_out.MSIX.req && hwif_out.MSIX.req_is_wr;
  assign hwif_in.STEER.wr_ack     = steer_write;
  assign hwif_in.STEER.rd_ack     = hwif_out.STEER.req && !hwif_out.STEER.req_is_wr;
  assign hwif_in.STEER.rd_data    = 32'(steer[addr_q[8:2]]);
  assign hwif_in.DOORBELL.wr_ack  = slot_write;
  assign hwif_in.DOORBELL.rd_ack  = hwif_out.DOORBELL.req && !hwif_out.DOORBELL.req_is_wr;
  assign hwif_in.DOORBELL.rd_data = addr_q[2] ? slot_hi[addr_q[8:3]] : slot_lo[addr_q[8:3]];
  assign hwif_in.MSIX.wr_ack      = msix_write;
  assign hwif_in.MSIX.rd_ack      = hwif_out.MSIX.req && !hwif_out.MSIX.req_is_wr;
  assign hwif_in.MSIX.rd_data     = msix_rdata;
  assign slot_addr_o              = {slot_hi[slot_i], slot_lo[slot_i]};

  always_ff @(posedge clk_i) begin
    if (steer_write) steer[addr_q[8:2]] <= wdata_q[CoreW-1:0];
    if (slot_write && !addr_q[2]) slot_lo[addr_q[8:3]] <= wdata_q;
    if (slot_write && addr_q[2]) slot_hi[addr_q[8:3]] <= wdata_q;
    steer_core_o <= steer[steer_index_i];
  end

  sluice_msix u_msix (
    .clk_i, .rst_ni(regs_rst_n_q), .raise_i(irq_q), .vector_i(hwif_out.IRQ.vector.value), .raise1_i(newly_expired != '0),
    .pending_o(pending), .write_i(msix_write), .word_i(addr_q[8:2]), .wdata_i(wdata_q), .rdata_o(msix_rdata),
    .msg_valid_o, .msg_ready_i, .msg_addr_o, .msg_data_o
  );

  logic unused;
  assign unused = ^{host_addr_i[1:0], core_addr_i[1:0]};

  `SLUICE_ASSERT(AnsweredAtOnce, req_q && !reset_q |-> (we_q ? wr_ack : rd_ack))
  `SLUICE_ASSERT(VectorInRange, msg_valid_o |-> msg_addr_o[1:0] == '0)
endmodule : sluice_card_regs
