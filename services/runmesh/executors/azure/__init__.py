"""Parts of `azure_container_instance`: what is configured, asked for, understood and read, each in one module."""
