"""The commands of `secondlook`, one a file: each adds its arguments and runs."""
