// One core tile: top module sluice_tile. Set SLUICE_RTL and IBEX_DIR.
-f ${SLUICE_RTL}/pkg.f
-f ${SLUICE_RTL}/ibex.f
${SLUICE_RTL}/sluice_tcm.sv
${SLUICE_RTL}/sluice_word_queue.sv
${SLUICE_RTL}/sluice_job_queue.sv
${SLUICE_RTL}/sluice_tile_out.sv
${SLUICE_RTL}/sluice_core_bus.sv
${SLUICE_RTL}/sluice_phase_counters.sv
${SLUICE_RTL}/sluice_crc_unit.sv
${SLUICE_RTL}/sluice_core_events.sv
${SLUICE_RTL}/sluice_core_regs.sv
${SLUICE_RTL}/sluice_tile.sv
