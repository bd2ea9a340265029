"""Train: python train.py env=nav mixer=gcn kappa=2."""

from lomaq.cli import train_main

if __name__ == "__main__":
    train_main()
