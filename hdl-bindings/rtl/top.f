// The whole card: top module sluice_top. Set SLUICE_RTL and IBEX_DIR.
-f ${SLUICE_RTL}/tile.f
-f ${SLUICE_RTL}/engines.f
-f ${SLUICE_RTL}/uncore_modules.f
${SLUICE_RTL}/sluice_top.sv
