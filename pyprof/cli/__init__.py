"""The command line: one small file per subcommand; `main` alone prints errors and decides the exit code."""
