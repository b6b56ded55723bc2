"""`python -m speechft`."""

from speechft.cli.app import main

if __name__ == "__main__":
    main()
