"""How the embedded models were made. Run one as `python -m engines.recipes.<name> --data FOLDER --out FOLDER`."""
