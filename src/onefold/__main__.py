"""`python -m onefold`: the command, for whoever has the package but not its folder on the path."""

from onefold.app.main import main

if __name__ == "__main__":
    main()
