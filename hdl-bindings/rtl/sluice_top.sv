`include "sluice_assert.svh"

/// The whole card: one control core, NumDataCores data cores and the uncore. Ports are those of `sluice_uncore`.
/// Synthesis and the clock-for-clock comparison use this top; for speed a simulator may run tiles and uncore as models of
/// their own (see `sluice_tile`).
module sluice_top
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
  // for the simulator
  output logic [NumCores-1:0] asleep_o         // cores in wfi
);
  logic run, boot;
  logic [31:0] clocks;
  logic [63:0] time_us;
  logic [31:0] entropy;
  logic [19:2] load_addr;
  logic [31:0] load_data;
  logic [127:0] bus_rdata;
  logic [1:0] in_kind;
  logic [127:0] in_data;
  logic [3:0] peek_select;
  logic bus_valid[NumCores];
  logic [1:0] bus_class[NumCores];
  logic bus_we[NumCores];
  logic [3:0] bus_be[NumCores];
  logic [PmAddrW-1:0] bus_addr[NumCores];
  logic [31:0] bus_wdata[NumCores];
  logic bus_done[NumCores];
  logic bus_rvalid[NumCores];
  logic [2:0] out_req[NumCores];
  logic [2:0] out_gnt[NumCores];
  logic out_valid[NumCores];
  logic [1:0] out_kind[NumCores];
  logic [127:0] out_data[NumCores];
  logic [CoreW-1:0] mail_to[NumCores];
  logic mail_refused[NumCores];
  logic sent_frame[NumCores];
  logic in_valid[NumCores];
  logic rx_popped[NumCores];
  logic mail_popped[NumCores];
  logic wake_on[NumCores];
  logic [31:0] wake_at[NumCores];
  logic wake[NumCores];
  logic watchdog_on[NumCores];
  logic [31:0] watchdog_at[NumCores];
  logic [11:0] snoop_first[NumCores];
  logic [11:0] snoop_end[NumCores];
  logic snooped[NumCores];
  logic host_event[NumCores];
  logic peek[NumCores];
  logic [31:0] peek_value[NumCores];
  logic load_valid[NumCores];

  sluice_uncore #(
    .NumDataCores(NumDataCores), .TcmBytes(TcmBytes), .MemoryBytes(MemoryBytes), .CrcContexts(CrcContexts),
    .ClocksPerUs(ClocksPerUs), .Build(Build)
  ) u_uncore (
    .clk_i, .rst_ni, .time_live_i, .time_us_i, .entropy_i, .rx_valid_i, .rx_data_i, .rx_keep_i, .rx_last_i,
    .tx_valid_o, .tx_ready_i, .tx_data_o, .tx_keep_o, .tx_last_o, .pcie_in_valid_i, .pcie_in_ready_o, .pcie_in_we_i,
    .pcie_in_bar2_i, .pcie_in_addr_i, .pcie_in_be_i, .pcie_in_wdata_i, .pcie_in_rvalid_o, .pcie_in_rdata_o,
    .pcie_out_valid_o, .pcie_out_ready_i, .pcie_out_we_o, .pcie_out_addr_o, .pcie_out_be_o, .pcie_out_wdata_o,
    .pcie_out_rvalid_i, .pcie_out_rerr_i, .pcie_out_rdata_i, .rom_addr_o, .rom_data_i, .strap_boot_i, .flash_sck_o, .flash_cs_no, .flash_io_o, .flash_io_oe_o, .flash_io_i, .board_i, .fuse_root_key_i,
    .fuse_security_i, .fuse_keys_i, .burn_security_o, .burn_keys_o,
    .run_o(run), .boot_o(boot), .clocks_o(clocks), .time_us_o(time_us),
    .entropy_o(entropy), .load_addr_o(load_addr), .load_data_o(load_data), .bus_rdata_o(bus_rdata),
    .in_kind_o(in_kind), .in_data_o(in_data), .peek_select_o(peek_select),
    .bus_valid_i(bus_valid), .bus_class_i(bus_class), .bus_we_i(bus_we), .bus_be_i(bus_be), .bus_addr_i(bus_addr),
    .bus_wdata_i(bus_wdata), .bus_done_o(bus_done), .bus_rvalid_o(bus_rvalid), .out_req_i(out_req),
    .out_gnt_o(out_gnt), .out_valid_i(out_valid), .out_kind_i(out_kind), .out_data_i(out_data), .mail_to_i(mail_to),
    .mail_refused_o(mail_refused), .sent_frame_o(sent_frame), .in_valid_o(in_valid), .rx_popped_i(rx_popped),
    .mail_popped_i(mail_popped), .wake_on_i(wake_on), .wake_at_i(wake_at), .wake_o(wake),
    .watchdog_on_i(watchdog_on), .watchdog_at_i(watchdog_at), .snoop_first_i(snoop_first), .snoop_end_i(snoop_end),
    .snooped_o(snooped), .host_event_o(host_event), .peek_o(peek), .peek_value_i(peek_value),
    .load_valid_o(load_valid)
  );

  for (genvar i = 0; i < NumCores; i++) begin : gen_tile
    sluice_tile #(.TcmBytes(TcmBytes)) u_tile (
      .clk_i, .rst_ni, .core_id_i(CoreW'(i)), .num_cores_i(CoreW'(NumCores)), .run_i(run || (boot && i == 0)), .boot_i(boot),
      .clocks_i(clocks),
      .time_us_i(time_us), .entropy_i(entropy), .load_valid_i(load_valid[i]), .load_addr_i(load_addr),
      .load_data_i(load_data), .bus_rdata_i(bus_rdata), .in_kind_i(in_kind), .in_data_i(in_data),
      .peek_select_i(peek_select), .bus_valid_o(bus_valid[i]), .bus_class_o(bus_class[i]), .bus_we_o(bus_we[i]),
      .bus_be_o(bus_be[i]), .bus_addr_o(bus_addr[i]), .bus_wdata_o(bus_wdata[i]), .bus_done_i(bus_done[i]),
      .bus_rvalid_i(bus_rvalid[i]), .out_req_o(out_req[i]), .out_gnt_i(out_gnt[i]), .out_valid_o(out_valid[i]),
      .out_kind_o(out_kind[i]), .out_data_o(out_data[i]), .mail_to_o(mail_to[i]), .mail_refused_i(mail_refused[i]),
      .sent_frame_i(sent_frame[i]), .in_valid_i(in_valid[i]), .rx_popped_o(rx_popped[i]),
      .mail_popped_o(mail_popped[i]), .wake_on_o(wake_on[i]), .wake_at_o(wake_at[i]), .wake_i(wake[i]),
      .watchdog_on_o(watchdog_on[i]), .watchdog_at_o(watchdog_at[i]), .snoop_first_o(snoop_first[i]),
      .snoop_end_o(snoop_end[i]), .snooped_i(snooped[i]), .host_event_i(host_event[i]), .peek_i(peek[i]),
      .peek_value_o(peek_value[i]), .asleep_o(asleep_o[i]), .quiet_o()
    );
  end
endmodule : sluice_top
