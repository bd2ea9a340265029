"""What comes from outside, checked before it is used: text files, stored settings, names of classes, and sizes."""
