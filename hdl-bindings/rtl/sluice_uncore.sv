`include "sluice_assert.svh"

/// Everything but the tiles: packet memory, engines, PCIe port, card registers, mail, and the tiles' connections to them.
/// Signals of all tiles are unpacked arrays, index = core; names and meanings are those of `sluice_tile`.
module sluice_uncore
  import sluice_pkg::*;
#(
  parameter int unsigned NumDataCores = 1,
  parameter int unsigned TcmBytes = 32'h8_0000,
  parameter int unsigned MemoryBytes = PmBytes,
  parameter int unsigned CrcContexts = 256,
  parameter int unsigned ClocksPerUs = 250,
  parameter logic [31:0] Build = 32'd0,
  localparam int unsigned NumCores = NumDataCores + 1,
  localparam int unsigned RomAddrW = $clog2(BootRomBytes / 4)
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  // time and entropy from outside
  input  logic               time_live_i,     // 1: microseconds follow `time_us_i`; 0: ClocksPerUs clocks are one
  input  logic [63:0]        time_us_i,
  input  logic [31:0]        entropy_i,
  // Ethernet port: frames without FCS, 16 bytes a beat; keep is contiguous from bit 0 and full but for the last beat
  input  logic               rx_valid_i,
  input  logic [127:0]       rx_data_i,
  input  logic [15:0]        rx_keep_i,
  input  logic               rx_last_i,
  output logic               tx_valid_o,
  input  logic               tx_ready_i,
  output logic [127:0]       tx_data_o,
  output logic [15:0]        tx_keep_o,
  output logic               tx_last_o,
  // PCIe port, inbound: beats inside one 16-byte row; read data in order, without back pressure
  input  logic               pcie_in_valid_i,
  output logic               pcie_in_ready_o,
  input  logic               pcie_in_we_i,
  input  logic               pcie_in_bar2_i,  // 0: BAR0, 1: BAR2
  input  logic [PmAddrW-1:0] pcie_in_addr_i,
  input  logic [15:0]        pcie_in_be_i,    // for reads: the bytes wanted
  input  logic [127:0]       pcie_in_wdata_i,
  output logic               pcie_in_rvalid_o,
  output logic [127:0]       pcie_in_rdata_o, // whole row; only the bytes asked for have a meaning
  // PCIe port, outbound: beats inside one 16-byte row; at most HostReads reads in flight, answers in order
  output logic               pcie_out_valid_o,
  input  logic               pcie_out_ready_i,
  output logic               pcie_out_we_o,
  output logic [63:0]        pcie_out_addr_o, // multiple of 16
  output logic [15:0]        pcie_out_be_o,   // for reads: the bytes wanted
  output logic [127:0]       pcie_out_wdata_o,
  input  logic               pcie_out_rvalid_i,
  input  logic               pcie_out_rerr_i,
  input  logic [127:0]       pcie_out_rdata_i,
  // serial flash (SPI mode 0, one or four bits) and what the board and its fuses say
  output logic               flash_sck_o,
  output logic               flash_cs_no,
  output logic [3:0]         flash_io_o,
  output logic [3:0]         flash_io_oe_o,
  input  logic [3:0]         flash_io_i,
  output logic [RomAddrW-1:0] rom_addr_o,     // boot program: words; data one clock after the address
  input  logic [31:0]        rom_data_i,
  input  logic               strap_boot_i,    // constant: start from flash after power-on
  input  logic [31:0]        board_i,         // constant
  input  logic [255:0]       fuse_root_key_i, // constant
  input  logic [7:0]         fuse_security_i, // counters, raised by one for each pulse
  input  logic [7:0]         fuse_keys_i,
  output logic               burn_security_o,
  output logic               burn_keys_o,
  // tiles, common
  output logic               run_o,
  output logic               boot_o,          // tile 0 runs the boot program, the others are held
  output logic [31:0]        clocks_o,
  output logic [63:0]        time_us_o,
  output logic [31:0]        entropy_o,
  output logic [19:2]        load_addr_o,
  output logic [31:0]        load_data_o,
  output logic [127:0]       bus_rdata_o,
  output logic [1:0]         in_kind_o,
  output logic [127:0]       in_data_o,
  output logic [3:0]         peek_select_o,
  // tiles, each
  input  logic               bus_valid_i[NumCores],
  input  logic [1:0]         bus_class_i[NumCores],
  input  logic               bus_we_i[NumCores],
  input  logic [3:0]         bus_be_i[NumCores],
  input  logic [PmAddrW-1:0] bus_addr_i[NumCores],
  input  logic [31:0]        bus_wdata_i[NumCores],
  output logic               bus_done_o[NumCores],
  output logic               bus_rvalid_o[NumCores],
  input  logic [2:0]         out_req_i[NumCores],
  output logic [2:0]         out_gnt_o[NumCores],
  input  logic               out_valid_i[NumCores],
  input  logic [1:0]         out_kind_i[NumCores],
  input  logic [127:0]       out_data_i[NumCores],
  input  logic [CoreW-1:0]   mail_to_i[NumCores],
  output logic               mail_refused_o[NumCores],
  output logic               sent_frame_o[NumCores],
  output logic               in_valid_o[NumCores],
  input  logic               rx_popped_i[NumCores],
  input  logic               mail_popped_i[NumCores],
  input  logic               wake_on_i[NumCores],
  input  logic [31:0]        wake_at_i[NumCores],
  output logic               wake_o[NumCores],
  input  logic               watchdog_on_i[NumCores],
  input  logic [31:0]        watchdog_at_i[NumCores],
  input  logic [11:0]        snoop_first_i[NumCores],
  input  logic [11:0]        snoop_end_i[NumCores],
  output logic               snooped_o[NumCores],
  output logic               host_event_o[NumCores],
  output logic               peek_o[NumCores],
  input  logic [31:0]        peek_value_i[NumCores],
  output logic               load_valid_o[NumCores]
);
  localparam int unsigned W = $clog2(NumCores);

  // ---- run domain: its reset falls in the same clock as the tiles' own -----------------------------------------------------

  logic run, boot, run_n_q;
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      run_o   <= 1'b0;
      boot_o  <= 1'b0;
      run_n_q <= 1'b0;
    end else begin
      run_o   <= run;
      boot_o  <= boot;
      run_n_q <= run_o || boot_o;
    end
  end
  always_ff @(posedge clk_i) entropy_o <= entropy_i;

  // ---- packet memory -------------------------------------------------------------------------------------------------------

  pm_req_t pm_req[PmPorts];
  pm_rsp_t pm_rsp[PmPorts];

  sluice_pm #(.Bytes(MemoryBytes)) u_pm (.clk_i, .rst_ni, .req_i(pm_req), .rsp_o(pm_rsp));

  // ---- cores' buses --------------------------------------------------------------------------------------------------------

  logic        side_req, side_we, side_done;
  bus_class_e  side_class;
  logic [15:0] side_addr;
  logic [31:0] side_wdata, reg_rdata;
  logic        core_reg_done, free_ready, bell_ready;
  logic [63:0] slot_addr;

  sluice_core_mux #(.NumCores(NumCores)) u_mux (
    .clk_i, .rst_ni(run_n_q), .bus_valid_i, .bus_class_i, .bus_we_i, .bus_be_i, .bus_addr_i, .bus_wdata_i,
    .bus_done_o, .bus_rvalid_o, .bus_rdata_o, .pm_req_o(pm_req[PmPortCores]), .pm_rsp_i(pm_rsp[PmPortCores]),
    .side_req_o(side_req), .side_class_o(side_class), .side_we_o(side_we), .side_addr_o(side_addr),
    .side_wdata_o(side_wdata), .side_done_i(side_done), .side_rdata_i(reg_rdata)
  );

  // Loads from write-only places answer at once, with whatever the register path holds.
  always_comb begin
    unique case (side_class)
      BusRegs:     side_done = core_reg_done;
      BusDoorbell: side_done = side_req && (bell_ready || !side_we);
      default:     side_done = side_req && (free_ready || !side_we);
    endcase
  end

  // ---- jobs, mail, deliveries ----------------------------------------------------------------------------------------------

  logic [NumCores-1:0] req[3], gnt[3], mail_refused, rx_popped, mail_popped, desc_room, desc_lag;
  logic                tx_job_valid, tx_job_ready, mv_job_valid, mv_job_ready, mail_valid, mail_ready;
  logic [CoreW-1:0]    tx_job_core, mv_job_core, mail_to, desc_core, tx_done_core, mv_done_core;
  logic [511:0]        tx_job, mv_job;
  logic [255:0]        mail;
  logic                desc_valid, desc_ready, tx_done, mv_done, mv_done_ready;
  rx_desc_t            desc;
  move_done_t          mv_done_what;

  for (genvar i = 0; i < NumCores; i++) begin : gen_tile
    for (genvar k = 0; k < 3; k++) begin : gen_kind
      assign req[k][i]       = out_req_i[i][k];
      assign out_gnt_o[i][k] = gnt[k][i];
    end
    assign mail_refused_o[i] = mail_refused[i];
    assign rx_popped[i]      = rx_popped_i[i];
    assign mail_popped[i]    = mail_popped_i[i];
    always_ff @(posedge clk_i or negedge run_n_q) begin
      if (!run_n_q) sent_frame_o[i] <= 1'b0;
      else          sent_frame_o[i] <= tx_done && tx_done_core == CoreW'(i);
    end
  end

  sluice_job_collect #(.NumCores(NumCores), .Kind(OutTx)) u_tx_jobs (
    .clk_i, .rst_ni(run_n_q), .req_i(req[OutTx]), .gnt_o(gnt[OutTx]), .out_valid_i, .out_kind_i, .out_data_i,
    .job_valid_o(tx_job_valid), .job_ready_i(tx_job_ready), .job_core_o(tx_job_core), .job_o(tx_job)
  );
  sluice_job_collect #(.NumCores(NumCores), .Kind(OutMove)) u_move_jobs (
    .clk_i, .rst_ni(run_n_q), .req_i(req[OutMove]), .gnt_o(gnt[OutMove]), .out_valid_i, .out_kind_i, .out_data_i,
    .job_valid_o(mv_job_valid), .job_ready_i(mv_job_ready), .job_core_o(mv_job_core), .job_o(mv_job)
  );
  sluice_mail_router #(.NumCores(NumCores)) u_mail (
    .clk_i, .rst_ni(run_n_q), .req_i(req[OutMail]), .to_i(mail_to_i), .gnt_o(gnt[OutMail]), .refused_o(mail_refused),
    .popped_i(mail_popped), .out_valid_i, .out_kind_i, .out_data_i,
    .mail_valid_o(mail_valid), .mail_ready_i(mail_ready), .mail_to_o(mail_to), .mail_o(mail)
  );
  sluice_deliver #(.NumCores(NumCores)) u_deliver (
    .clk_i, .rst_ni(run_n_q), .desc_valid_i(desc_valid), .desc_ready_o(desc_ready), .desc_core_i(desc_core), .desc_i(desc),
    .desc_room_o(desc_room), .desc_lag_o(desc_lag), .rx_popped_i(rx_popped), .mail_valid_i(mail_valid),
    .mail_ready_o(mail_ready), .mail_to_i(mail_to), .mail_i(mail), .done_valid_i(mv_done), .done_ready_o(mv_done_ready),
    .done_core_i(mv_done_core), .done_i(mv_done_what), .in_valid_o, .in_kind_o, .in_data_o
  );

  // ---- engines -------------------------------------------------------------------------------------------------------------

  logic [47:0]           mac;
  logic [6:0]            steer_index;
  logic [CoreW-1:0]      steer_core;
  logic                  cnt_rx, cnt_pause, cnt_tx, cnt_tx_bad, cnt_move;
  logic [13:0]           cnt_rx_bytes, cnt_tx_bytes;
  logic [17:0]           cnt_move_bytes;
  logic [NumRxDrops-1:0] cnt_drop;
  logic [15:0]           pause_quanta;
  host_req_t             host_req, trace_req;
  host_rsp_t             host_rsp, trace_rsp;
  logic                  seen_valid, seen_last, seen_lost, judged, judged_drop;
  logic [127:0]          seen_data;
  logic [4:0]            seen_count;
  rx_drop_e              judged_reason;

  sluice_rx #(.NumCores(NumCores)) u_rx (
    .clk_i, .rst_ni(run_n_q), .rx_valid_i, .rx_data_i, .rx_keep_i, .rx_last_i,
    .pm_req_o(pm_req[PmPortRx]), .pm_rsp_i(pm_rsp[PmPortRx]), .cfg_mac_i(mac), .time_us_i(time_us_o[31:0]),
    .steer_index_o(steer_index), .steer_core_i(steer_core), .desc_room_i(desc_room), .desc_lag_i(desc_lag),
    .desc_valid_o(desc_valid), .desc_ready_i(desc_ready), .desc_core_o(desc_core), .desc_o(desc),
    .free_valid_i(side_req && side_we && side_class == BusRxFree), .free_ready_o(free_ready),
    .free_buf_i(side_wdata[11:0]), .cnt_frame_o(cnt_rx), .cnt_bytes_o(cnt_rx_bytes), .cnt_drop_o(cnt_drop),
    .cnt_pause_o(cnt_pause), .pause_quanta_o(pause_quanta), .seen_valid_o(seen_valid), .seen_data_o(seen_data),
    .seen_count_o(seen_count), .seen_last_o(seen_last), .seen_lost_o(seen_lost), .judged_o(judged),
    .judged_drop_o(judged_drop), .judged_reason_o(judged_reason)
  );
  sluice_tx u_tx (
    .clk_i, .rst_ni(run_n_q), .job_valid_i(tx_job_valid), .job_ready_o(tx_job_ready), .job_core_i(tx_job_core),
    .job_i(tx_job), .done_valid_o(tx_done), .done_core_o(tx_done_core), .pm_req_o(pm_req[PmPortTx]),
    .pm_rsp_i(pm_rsp[PmPortTx]), .tx_valid_o, .tx_ready_i, .tx_data_o, .tx_keep_o, .tx_last_o,
    .cnt_frame_o(cnt_tx), .cnt_bytes_o(cnt_tx_bytes), .cnt_bad_o(cnt_tx_bad)
  );
  sluice_mover #(.NumCores(NumCores), .CrcContexts(CrcContexts)) u_mover (
    .clk_i, .rst_ni(run_n_q), .job_valid_i(mv_job_valid), .job_ready_o(mv_job_ready), .job_core_i(mv_job_core),
    .job_i(mv_job), .done_valid_o(mv_done), .done_ready_i(mv_done_ready), .done_core_o(mv_done_core),
    .done_o(mv_done_what), .rd_req_o(pm_req[PmPortMvRd]), .rd_rsp_i(pm_rsp[PmPortMvRd]), .wr_req_o(pm_req[PmPortMvWr]),
    .wr_rsp_i(pm_rsp[PmPortMvWr]), .host_req_o(host_req), .host_rsp_i(host_rsp), .cnt_move_o(cnt_move),
    .cnt_bytes_o(cnt_move_bytes)
  );

  logic [63:0]   clocks;
  trace_cfg_t    trace_cfg;
  trace_status_t trace_status;

  sluice_trace u_trace (
    .clk_i, .rst_ni(run_n_q), .clocks_i(clocks), .cfg_i(trace_cfg), .rx_valid_i(seen_valid), .rx_data_i(seen_data),
    .rx_count_i(seen_count), .rx_last_i(seen_last), .rx_lost_i(seen_lost), .judged_i(judged), .judged_drop_i(judged_drop),
    .judged_reason_i(judged_reason), .tx_valid_i(tx_valid_o && tx_ready_i), .tx_data_i(tx_data_o), .tx_keep_i(tx_keep_o),
    .tx_last_i(tx_last_o), .host_req_o(trace_req), .host_rsp_i(trace_rsp), .status_o(trace_status)
  );

  // ---- PCIe ----------------------------------------------------------------------------------------------------------------

  logic        host_reg_req, host_reg_we, host_reg_done, snoop, msg_valid, msg_ready;
  logic [15:0] host_reg_addr;
  logic [3:0]  host_reg_be;
  logic [31:0] host_reg_wdata, msg_data;
  logic [63:0] msg_addr;
  logic [11:0] snoop_page;
  logic        cnt_in_read, cnt_in_write, cnt_out_read, cnt_out_write;

  sluice_pcie_in u_pcie_in (
    .clk_i, .rst_ni, .valid_i(pcie_in_valid_i), .ready_o(pcie_in_ready_o), .we_i(pcie_in_we_i), .bar2_i(pcie_in_bar2_i),
    .addr_i(pcie_in_addr_i), .be_i(pcie_in_be_i), .wdata_i(pcie_in_wdata_i), .rvalid_o(pcie_in_rvalid_o),
    .rdata_o(pcie_in_rdata_o), .pm_req_o(pm_req[PmPortPcie]), .pm_rsp_i(pm_rsp[PmPortPcie]), .reg_req_o(host_reg_req),
    .reg_we_o(host_reg_we), .reg_addr_o(host_reg_addr), .reg_be_o(host_reg_be), .reg_wdata_o(host_reg_wdata),
    .reg_done_i(host_reg_done), .reg_rdata_i(reg_rdata), .snoop_o(snoop), .snoop_page_o(snoop_page),
    .cnt_read_o(cnt_in_read), .cnt_write_o(cnt_in_write)
  );
  sluice_pcie_out u_pcie_out (
    .clk_i, .rst_ni, .bell_valid_i(side_req && side_we && side_class == BusDoorbell), .bell_ready_o(bell_ready),
    .bell_addr_i(slot_addr), .bell_data_i(side_wdata), .msg_valid_i(msg_valid), .msg_ready_o(msg_ready),
    .msg_addr_i(msg_addr), .msg_data_i(msg_data), .run_ni(run_n_q), .host_req_i(host_req), .host_rsp_o(host_rsp),
    .trace_req_i(trace_req), .trace_rsp_o(trace_rsp),
    .valid_o(pcie_out_valid_o), .ready_i(pcie_out_ready_i), .we_o(pcie_out_we_o), .addr_o(pcie_out_addr_o),
    .be_o(pcie_out_be_o), .wdata_o(pcie_out_wdata_o), .rvalid_i(pcie_out_rvalid_i), .rerr_i(pcie_out_rerr_i),
    .rdata_i(pcie_out_rdata_i), .cnt_read_o(cnt_out_read), .cnt_write_o(cnt_out_write)
  );

  // ---- registers, timers ---------------------------------------------------------------------------------------------------

  logic [NumCores-1:0] load_valid;
  logic             host_event, peek;
  logic [19:0]      load_addr;
  logic [31:0]      load_data, expired;
  logic [CoreW-1:0] peek_core;
  logic [3:0]       peek_select;

  logic        ctrl_run, ctrl_boot, copy;
  logic [19:2] copy_addr;
  logic [31:0] copy_data;

  sluice_boot #(.TcmBytes(TcmBytes), .RomBytes(BootRomBytes)) u_boot (
    .clk_i, .rst_ni, .run_i(ctrl_run), .boot_i(ctrl_boot), .run_o(run), .boot_o(boot), .rom_addr_o, .rom_data_i, .copy_o(copy),
    .copy_addr_o(copy_addr), .copy_data_o(copy_data)
  );
  sluice_card_regs #(.NumCores(NumCores), .TcmBytes(TcmBytes), .MemoryBytes(MemoryBytes), .Build(Build)) u_regs (
    .clk_i, .rst_ni, .host_req_i(host_reg_req), .host_we_i(host_reg_we), .host_addr_i(host_reg_addr),
    .host_be_i(host_reg_be), .host_wdata_i(host_reg_wdata), .host_done_o(host_reg_done),
    .core_req_i(side_req && side_class == BusRegs), .core_we_i(side_we), .core_addr_i(side_addr),
    .core_wdata_i(side_wdata), .core_done_o(core_reg_done), .rdata_o(reg_rdata), .run_o(ctrl_run),
    .boot_o(ctrl_boot), .running_i(run), .strap_boot_i, .flash_sck_o, .flash_cs_no, .flash_io_o, .flash_io_oe_o, .flash_io_i, .board_i, .fuse_root_key_i,
    .fuse_security_i, .fuse_keys_i, .burn_security_o, .burn_keys_o,
    .load_valid_o(load_valid), .load_addr_o(load_addr), .load_data_o(load_data), .host_event_o(host_event), .mac_o(mac),
    .peek_o(peek), .peek_core_o(peek_core), .peek_select_o(peek_select), .peek_value_i(peek_value_i[peek_core[W-1:0]]),
    .steer_index_i(steer_index), .steer_core_o(steer_core), .slot_i(side_addr[7:2]), .slot_addr_o(slot_addr),
    .expired_i(expired), .msg_valid_o(msg_valid), .msg_ready_i(msg_ready), .msg_addr_o(msg_addr), .msg_data_o(msg_data),
    .cnt_rx_frame_i(cnt_rx), .cnt_rx_bytes_i(cnt_rx_bytes), .cnt_drop_i(cnt_drop), .cnt_pause_i(cnt_pause),
    .pause_quanta_i(pause_quanta), .cnt_tx_frame_i(cnt_tx), .cnt_tx_bytes_i(cnt_tx_bytes), .cnt_tx_bad_i(cnt_tx_bad),
    .cnt_move_i(cnt_move), .cnt_move_bytes_i(cnt_move_bytes), .cnt_in_read_i(cnt_in_read),
    .cnt_in_write_i(cnt_in_write), .cnt_out_read_i(cnt_out_read), .cnt_out_write_i(cnt_out_write),
    .trace_cfg_o(trace_cfg), .trace_status_i(trace_status), .clocks_i(clocks)
  );
  assign clocks_o = clocks[31:0];
  sluice_watch #(.NumCores(NumCores), .ClocksPerUs(ClocksPerUs)) u_watch (
    .clk_i, .rst_ni, .run_ni(run_n_q), .time_live_i, .time_us_i, .clocks_o(clocks), .time_us_o, .wake_on_i, .wake_at_i, .wake_o,
    .watchdog_on_i, .watchdog_at_i, .expired_o(expired), .snoop_i(snoop), .snoop_page_i(snoop_page), .snoop_first_i,
    .snoop_end_i, .snooped_o
  );

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      for (int i = 0; i < NumCores; i++) begin
        load_valid_o[i] <= 1'b0;
        peek_o[i]       <= 1'b0;
      end
    end else begin
      for (int i = 0; i < NumCores; i++) begin
        load_valid_o[i] <= load_valid[i] || (copy && i == 0);
        peek_o[i]       <= peek && peek_core == CoreW'(i);
      end
    end
  end
  always_ff @(posedge clk_i) begin
    load_addr_o   <= copy ? copy_addr : load_addr[19:2];
    load_data_o   <= copy ? copy_data : load_data;
    peek_select_o <= peek_select;
  end
  for (genvar i = 0; i < NumCores; i++) begin : gen_host_event
    if (i == 0) begin : gen_control
      assign host_event_o[i] = host_event;
    end else begin : gen_data
      assign host_event_o[i] = 1'b0;
    end
  end

  logic unused;
  assign unused = ^load_addr[1:0];

  `SLUICE_ASSERT_STATIC(CoresFit, NumCores >= 2 && NumCores <= 17)
endmodule : sluice_uncore
