"""The live channel where no process stays: API Gateway holds the sockets, the shelf remembers who watches."""
