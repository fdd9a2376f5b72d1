"""What the commands do and print, one file each."""
