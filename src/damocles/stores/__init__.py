"""Where sectors lie: sealing stores (journal and working files), persist stores, piece stores."""
