`include "sluice_assert.svh"

/// One core with its memory and registers. Every output leaves a flop and every input comes from one in the uncore, so a
/// simulator may evaluate tiles and uncore as separate models that exchange ports once a clock.
///
/// While `quiet_o` is high and none of the inputs named *event* below is active, evaluating the tile changes nothing:
/// a simulator may skip it (inputs named *ambient* may then be stale; refresh them before the next evaluation).
module sluice_tile
  import sluice_pkg::*;
#(
  parameter int unsigned TcmBytes = 32'h8_0000 // power of two, at most 1 MiB
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  input  logic               run_i,          // event: 0 holds the core and its queues in reset; contents of the TCM stay
  input  logic               boot_i,         // ambient, with the rise of run_i: the core starts in the boot program
  input  logic [CoreW-1:0]   core_id_i,      // constant
  input  logic [CoreW-1:0]   num_cores_i,    // constant
  input  logic [31:0]        clocks_i,       // ambient: free-running
  input  logic [63:0]        time_us_i,      // ambient
  input  logic [31:0]        entropy_i,      // ambient
  // load window: writes to the TCM while the core is held
  input  logic               load_valid_i,   // event
  input  logic [19:2]        load_addr_i,
  input  logic [31:0]        load_data_i,
  // bus: at most BusDepth requests without a done
  output logic               bus_valid_o,
  output logic [1:0]         bus_class_o,    // bus_class_e
  output logic               bus_we_o,
  output logic [3:0]         bus_be_o,
  output logic [PmAddrW-1:0] bus_addr_o,
  output logic [31:0]        bus_wdata_o,
  input  logic               bus_done_i,     // event: pulse, the oldest request is done
  input  logic               bus_rvalid_i,   // event: pulse, answer to a load
  input  logic [127:0]       bus_rdata_i,
  // job bus: bursts by out_kind_e, each after a grant
  output logic [2:0]         out_req_o,
  input  logic [2:0]         out_gnt_i,      // event: pulses
  output logic               out_valid_o,
  output logic [1:0]         out_kind_o,
  output logic [127:0]       out_data_o,
  output logic [CoreW-1:0]   mail_to_o,      // valid with out_req_o[OutMail]
  input  logic               mail_refused_i, // event: pulse instead of a grant
  input  logic               sent_frame_i,   // event: pulse, a tx job is done
  // deliveries by in_kind_e
  input  logic               in_valid_i,     // event
  input  logic [1:0]         in_kind_i,
  input  logic [127:0]       in_data_i,
  output logic               rx_popped_o,    // pulse: a place in the descriptor queue
  output logic               mail_popped_o,  // pulse: a place in the mailbox
  // what the uncore watches on the tile's behalf
  output logic               wake_on_o,
  output logic [31:0]        wake_at_o,      // low word of time_us_i
  input  logic               wake_i,         // event: pulse
  output logic               watchdog_on_o,
  output logic [31:0]        watchdog_at_o,  // clocks_i
  output logic [11:0]        snoop_first_o,  // 4 KiB pages
  output logic [11:0]        snoop_end_o,
  input  logic               snooped_i,      // event: pulse
  input  logic               host_event_i,   // event: pulse
  input  logic               peek_i,         // event: pulse
  input  logic [3:0]         peek_select_i,
  output logic [31:0]        peek_value_o,
  output logic               asleep_o,       // the core waits in wfi
  output logic               quiet_o         // see above
);
  localparam int unsigned TcmAddrW = $clog2(TcmBytes / 4);

  // ---- reset ---------------------------------------------------------------------------------------------------------------

  logic run_q, boot_q;
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      run_q  <= 1'b0;
      boot_q <= 1'b0;
    end else begin
      run_q <= run_i;
      if (!run_q) boot_q <= boot_i;
    end
  end

  // ---- core ----------------------------------------------------------------------------------------------------------------

  logic        instr_req, instr_rvalid_q;
  logic [31:0] instr_addr, instr_rdata;
  logic        data_req, data_gnt, data_rvalid, data_we, data_err_q;
  logic [3:0]  data_be;
  logic [31:0] data_addr, data_wdata, data_rdata;
  logic        irq, sleep, double_fault, fault_q;

  ibex_top #(
    .RV32M(ibex_pkg::RV32MSingleCycle),
    .RV32B(ibex_pkg::RV32BBalanced),
    .RegFile(ibex_pkg::RegFileFF),
    .BranchTargetALU(1'b1),
    .WritebackStage(1'b1)
  ) u_core (
    .clk_i, .rst_ni(run_q), .test_en_i(1'b0), .ram_cfg_i('0), .scan_rst_ni(1'b1),
    .hart_id_i(32'(core_id_i)), .boot_addr_i(boot_q ? 32'(TcmBytes - BootRomBytes) : 32'd0), .fetch_enable_i(ibex_pkg::IbexMuBiOn), .debug_req_i(1'b0),
    .instr_req_o(instr_req), .instr_gnt_i(instr_req), .instr_rvalid_i(instr_rvalid_q), .instr_addr_o(instr_addr),
    .instr_rdata_i(instr_rdata), .instr_rdata_intg_i('0), .instr_err_i(1'b0),
    .data_req_o(data_req), .data_gnt_i(data_gnt), .data_rvalid_i(data_rvalid), .data_we_o(data_we), .data_be_o(data_be),
    .data_addr_o(data_addr), .data_wdata_o(data_wdata), .data_wdata_intg_o(), .data_rdata_i(data_rdata),
    .data_rdata_intg_i('0), .data_err_i(data_err_q),
    .irq_software_i(1'b0), .irq_timer_i(1'b0), .irq_external_i(irq), .irq_fast_i('0), .irq_nm_i(1'b0),
    .scramble_key_valid_i(1'b0), .scramble_key_i('0), .scramble_nonce_i('0), .scramble_req_o(),
    .crash_dump_o(), .double_fault_seen_o(double_fault),
    .alert_minor_o(), .alert_major_internal_o(), .alert_major_bus_o(), .core_sleep_o(sleep)
  );

  // ---- where a data access goes --------------------------------------------------------------------------------------------

  logic        to_tcm, to_regs, to_bus, to_free, bus_gnt;
  bus_class_e  bus_class;
  logic [31:0] bus_wdata, tcm_rdata, regs_rdata, bus_rdata;
  logic        bus_rvalid, fast_q, from_tcm_q, from_regs_q;
  logic        regs_req;

  // RX_FREE is a core register, but takes the bus so that it stays behind the accesses to its buffer.
  assign to_tcm  = data_addr[31:20] == '0;
  assign to_regs = data_addr[31:28] == 4'h8 && !to_free;
  assign to_free = data_addr[31:28] == 4'h8 && data_we
                   && {data_addr[15:2], 2'b00} == sluice_core_offsets_pkg::RxFreeOffset;
  assign to_bus  = data_addr[31:28] inside {4'h4, 4'h9, 4'hA} || to_free;

  always_comb begin
    bus_class = BusPm;
    bus_wdata = data_wdata;
    if (to_free) bus_class = BusRxFree;
    else if (data_addr[31:28] == 4'h9) bus_class = BusRegs;
    else if (data_addr[31:28] == 4'hA) bus_class = BusDoorbell;
  end

  assign regs_req    = data_req && to_regs;
  assign data_gnt    = !to_bus || bus_gnt;
  assign data_rvalid = fast_q || bus_rvalid;
  always_comb begin
    data_rdata = bus_rdata;
    if (from_tcm_q) data_rdata = tcm_rdata;
    if (from_regs_q) data_rdata = regs_rdata;
  end

  always_ff @(posedge clk_i or negedge run_q) begin
    if (!run_q) begin
      instr_rvalid_q <= 1'b0;
      fast_q         <= 1'b0;
      data_err_q     <= 1'b0;
      from_tcm_q     <= 1'b0;
      from_regs_q    <= 1'b0;
      fault_q        <= 1'b0;
    end else begin
      instr_rvalid_q <= instr_req;
      fast_q         <= data_req && !to_bus;
      data_err_q     <= data_req && !to_bus && !to_tcm && !to_regs;
      if (data_req && data_gnt) begin
        from_tcm_q  <= to_tcm;
        from_regs_q <= to_regs;
      end
      if (double_fault) fault_q <= 1'b1;
    end
  end

  // ---- memory --------------------------------------------------------------------------------------------------------------

  logic                b_req, b_we;
  logic [3:0]          b_be;
  logic [TcmAddrW-1:0] b_addr;
  logic [31:0]         b_wdata;
  logic                loading;

  assign loading = load_valid_i && !run_q;
  assign b_req   = loading || (data_req && to_tcm);
  assign b_we    = loading || data_we;
  assign b_be    = loading ? 4'hF : data_be;
  assign b_addr  = loading ? load_addr_i[TcmAddrW+1:2] : data_addr[TcmAddrW+1:2];
  assign b_wdata = loading ? load_data_i : data_wdata;

  sluice_tcm #(.Bytes(TcmBytes)) u_tcm (
    .clk_i, .a_req_i(instr_req), .a_addr_i(instr_addr[TcmAddrW+1:2]), .a_rdata_o(instr_rdata),
    .b_req_i(b_req), .b_we_i(b_we), .b_be_i(b_be), .b_addr_i(b_addr), .b_wdata_i(b_wdata), .b_rdata_o(tcm_rdata)
  );

  // ---- bus and registers ---------------------------------------------------------------------------------------------------

  logic [7:0] sent, reached;
  logic       pm_access, payload, frame_load;

  sluice_core_bus u_bus (
    .clk_i, .rst_ni(run_q), .clocks_i,
    .req_i(data_req && to_bus), .class_i(bus_class), .we_i(data_we), .be_i(data_be), .addr_i(data_addr[PmAddrW-1:0]),
    .wdata_i(bus_wdata), .gnt_o(bus_gnt), .rvalid_o(bus_rvalid), .rdata_o(bus_rdata), .forget_i(regs_req || sleep),
    .sent_o(sent), .reached_o(reached),
    .bus_valid_o, .bus_class_o, .bus_we_o, .bus_be_o, .bus_addr_o, .bus_wdata_o, .bus_done_i,
    .load_valid_i(bus_rvalid_i), .load_data_i(bus_rdata_i)
  );

  assign pm_access  = data_req && bus_gnt && data_addr[31:28] == 4'h4;
  assign payload    = pm_access && data_addr[PmAddrW-1:0] >= PmAddrW'(PagesBase);
  assign frame_load = pm_access && !data_we && data_addr[PmAddrW-1:0] < PmAddrW'(RxBuffersEnd);

  sluice_core_regs u_regs (
    .clk_i, .rst_ni(run_q), .core_id_i, .num_cores_i, .clocks_i, .time_us_i, .entropy_i,
    .req_i(regs_req), .we_i(data_we), .addr_i(data_addr[9:2]), .wdata_i(data_wdata), .rdata_o(regs_rdata), .irq_o(irq),
    .asleep_i(sleep), .fault_i(fault_q), .payload_i(payload), .frame_load_i(frame_load), .sent_i(sent), .reached_i(reached),
    .out_req_o, .out_gnt_i, .out_valid_o, .out_kind_o, .out_data_o, .mail_to_o, .mail_refused_i, .sent_frame_i,
    .in_valid_i, .in_kind_i, .in_data_i, .rx_popped_o, .mail_popped_o,
    .wake_on_o, .wake_at_o, .wake_i, .watchdog_on_o, .watchdog_at_o, .snoop_first_o, .snoop_end_o, .snooped_i, .host_event_i,
    .peek_i, .peek_select_i, .peek_value_o
  );

  // ---- sleep ---------------------------------------------------------------------------------------------------------------

  // Two clocks after the core fell asleep with nothing under way, all flops have settled.
  logic       still;
  logic [1:0] still_q;
  assign still = (!run_q && !run_i)
                 || (run_q && sleep && !irq && sent == reached && out_req_o == '0 && !out_valid_o && !rx_popped_o && !mail_popped_o
                     && !wake_i && !peek_i && !in_valid_i && !sent_frame_i && !snooped_i && !host_event_i
                     && out_gnt_i == '0);
  assign quiet_o = still_q == 2'd3;
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      still_q  <= '0;
      asleep_o <= 1'b0;
    end else begin
      still_q  <= still ? ((still_q == 2'd3) ? 2'd3 : still_q + 2'd1) : 2'd0;
      asleep_o <= sleep && run_q;
    end
  end

  logic unused;
  assign unused = ^{load_addr_i, instr_addr};

  `SLUICE_ASSERT(OneAnswer, !(fast_q && bus_rvalid))
  `SLUICE_ASSERT(WordAccessToRegs, regs_req && data_we |-> data_be == 4'hF, clk_i, run_q)
endmodule : sluice_tile
