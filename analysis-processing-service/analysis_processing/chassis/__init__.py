"""What every service has alike: identical files in each, held together by `make check-twins`.

A reader of one service may skip this folder; inside it imports are relative, outside absolute.
"""
