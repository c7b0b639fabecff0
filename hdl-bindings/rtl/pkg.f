// What every model needs first. Set SLUICE_RTL to hdl-bindings/rtl.
+incdir+${SLUICE_RTL}
${SLUICE_RTL}/lint.vlt
${SLUICE_RTL}/sluice_pkg.sv
${SLUICE_RTL}/generated/sluice_core_offsets_pkg.sv
${SLUICE_RTL}/generated/sluice_bar0_offsets_pkg.sv
