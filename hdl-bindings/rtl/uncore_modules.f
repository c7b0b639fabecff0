// The uncore's own modules, without packages and engines.
${SLUICE_RTL}/generated/sluice_bar0_pkg.sv
${SLUICE_RTL}/generated/sluice_bar0.sv
${SLUICE_RTL}/sluice_rr.sv
${SLUICE_RTL}/sluice_bus_queue.sv
${SLUICE_RTL}/sluice_core_mux.sv
${SLUICE_RTL}/sluice_job_collect.sv
${SLUICE_RTL}/sluice_mail_router.sv
${SLUICE_RTL}/sluice_deliver.sv
${SLUICE_RTL}/sluice_watch.sv
${SLUICE_RTL}/sluice_msix.sv
${SLUICE_RTL}/sluice_pcie_in.sv
${SLUICE_RTL}/sluice_pcie_out.sv
${SLUICE_RTL}/sluice_qspi.sv
${SLUICE_RTL}/sluice_boot.sv
${SLUICE_RTL}/sluice_card_regs.sv
${SLUICE_RTL}/sluice_uncore.sv
