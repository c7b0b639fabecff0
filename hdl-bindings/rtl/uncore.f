// Everything but the tiles: top module sluice_uncore. Set SLUICE_RTL.
-f ${SLUICE_RTL}/pkg.f
-f ${SLUICE_RTL}/engines.f
-f ${SLUICE_RTL}/uncore_modules.f
