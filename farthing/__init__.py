"""The words everybody in Farthing uses: frozen values, the error tree and the ports; no I/O, no clock, no dice."""
