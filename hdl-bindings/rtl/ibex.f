// The CPU core, from the PyPI package pythondata-cpu-ibex: set IBEX_DIR to its system_verilog folder,
// and SLUICE_RTL to hdl-bindings/rtl.
+incdir+${IBEX_DIR}/vendor/lowrisc_ip/ip/prim/rtl
+incdir+${IBEX_DIR}/vendor/lowrisc_ip/dv/sv/dv_utils
-y ${IBEX_DIR}/vendor/lowrisc_ip/ip/prim/rtl
-y ${IBEX_DIR}/rtl
${IBEX_DIR}/vendor/lowrisc_ip/ip/prim/rtl/prim_util_pkg.sv
${IBEX_DIR}/vendor/lowrisc_ip/ip/prim/rtl/prim_count_pkg.sv
${IBEX_DIR}/vendor/lowrisc_ip/ip/prim/rtl/prim_cipher_pkg.sv
${IBEX_DIR}/vendor/lowrisc_ip/ip/prim/rtl/prim_secded_pkg.sv
${IBEX_DIR}/vendor/lowrisc_ip/ip/prim/rtl/prim_ram_1p_pkg.sv
${IBEX_DIR}/vendor/lowrisc_ip/ip/prim/rtl/prim_mubi_pkg.sv
${IBEX_DIR}/rtl/ibex_pkg.sv
${SLUICE_RTL}/ibex/sluice_ibex_prims.sv
${IBEX_DIR}/rtl/ibex_top.sv
