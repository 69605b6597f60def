"""What every room uses: checks of arguments, files, locks, the terminal, walks of graphs."""
