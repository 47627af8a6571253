"""python -m cluster: the trilith command."""

from cluster.cli import main

if __name__ == "__main__":
    main()
